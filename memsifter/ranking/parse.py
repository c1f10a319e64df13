"""Reading what a ranker wrote.

The format is `<think>…</think><ranking>3,0,7</ranking>`. A text that follows it exactly, with every number in range and
none repeated, is `ok`; white space between the parts is allowed, and so is naming fewer than all candidates. Everything
else from which at least one candidate can be read is `repaired`, by these rules:

- What counts comes after the last `</think>`; a ranking inside the thoughts is ignored. Missing think tags are
  tolerated.
- The last `<ranking>` counts. Without its close tag, the longest list that follows it is read. Without an open tag, the
  text counts only if it is a list and nothing else, so that numbers in prose are never taken for a ranking.
- A list is split at commas and semicolons (also the CJK ones), `|`, `>`, arrows, line ends, and at white space or
  dashes between two digits: `1-3` is 1, then 3, not a range. Each item gives one number: the one behind `session` or
  `#`, else the first. Brackets and quotes do not matter; a remark in round brackets behind a number is dropped.
- Numbers out of range, numbers with a minus sign and repeats are dropped; the first mention of a candidate counts.

If no candidate is left the status is `failed`. All patterns run in linear time on any text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "repaired", "failed"]

# No possessive quantifiers: Python 3.11 before 3.11.5 matches them wrongly around a group.
_EXACT = re.compile(
    r"\s*<think>(?:(?!</?think>|</?ranking>).)*</think>\s*"
    r"<ranking>\s*([0-9]+(?:\s*,\s*[0-9]+)*)\s*</ranking>\s*",
    re.DOTALL,
)
_THINK_END = "</think>"
_OPEN, _CLOSE = "<ranking>", "</ranking>"
# Escapes: the CJK full-width comma, enumeration comma, semicolon and colon; arrow; en dash, em dash; minus sign.
_DELIMITERS = r",\uff0c\u3001;\uff1b|>\u2192\n"
_LIST = re.compile(
    rf"""(?:sessions?|[\s\d{_DELIMITERS}#\[\](){{}}"'_:\uff1a.=\-\u2013\u2014\u2212])*""",
    re.IGNORECASE,
)
_REMARK = re.compile(r"(?<=\d)\s*\([^()]*\)")
_SEPARATOR = re.compile(rf"[{_DELIMITERS}]+|(?<=\d)(?:-|\s*[\u2013\u2014]\s*|\s+-\s+|\s+)(?=\d)")
_LABELLED = re.compile(r"(?:session|#)[ _#:-]?\s*(\d+)", re.IGNORECASE)
_BARE = re.compile(r"(?<![-\u2212\d])\d+")
_MAX_DIGITS = 18  # no candidate number is longer, and int() refuses strings of thousands of digits


@dataclass(frozen=True, slots=True)
class ParsedRanking:
    """The candidates that a ranker named, best first: 0-based, in range, without repeats, not necessarily all."""

    indices: tuple[int, ...]
    status: Status


def parse_ranking(text: str, num_candidates: int, base: int = 0) -> ParsedRanking:
    """Read a ranking from a ranker's output. Never raises, whatever the text.

    Args:
        text: the whole output, thoughts included.
        num_candidates: how many candidates the prompt showed.
        base: the number that the first candidate had in the prompt.
    """
    exact = _EXACT.fullmatch(text)
    numbers = exact[1].split(",") if exact else _find_numbers(_find_list(text))
    in_range = [index for digits in numbers if (index := _read_index(digits, base)) in range(num_candidates)]
    indices = tuple(dict.fromkeys(in_range))
    if not indices:
        return ParsedRanking((), "failed")
    return ParsedRanking(indices, "ok" if exact and len(indices) == len(numbers) else "repaired")


def complete(indices: Sequence[int], num_candidates: int) -> list[int]:
    """The ranking of all candidates: `indices`, then those not named, in the order in which they were shown."""
    named = set(indices)
    return [*indices, *(index for index in range(num_candidates) if index not in named)]


def _read_index(digits: str, base: int) -> int:
    digits = digits.strip()
    return int(digits) - base if len(digits) <= _MAX_DIGITS else -1


def _find_list(text: str) -> str:
    """The part of a malformed output that holds the ranking; "" if there is none."""
    answer = _lower_tags(text).rpartition(_THINK_END)[2]
    _, opened, body = answer.rpartition(_OPEN)
    if not opened:
        body = answer.strip().removesuffix(_CLOSE)
        return body if _LIST.fullmatch(body) else ""
    body, closed, _ = body.partition(_CLOSE)
    if closed:
        return body
    prefix = _LIST.match(body)
    return prefix[0] if prefix else ""


def _lower_tags(text: str) -> str:
    return re.sub(r"</?(?:think|ranking)>", lambda match: match[0].lower(), text, flags=re.IGNORECASE)


def _find_numbers(body: str) -> list[str]:
    """The number of each item, as digits. Items without a number are left out."""
    items = _SEPARATOR.split(_REMARK.sub("", body))
    return [match[match.re.groups] for item in items if (match := _LABELLED.search(item) or _BARE.search(item))]


def ranking_regex(num_candidates: int, base: int, max_ranked: int, think_chars: int) -> str:
    """The pattern `<think>…</think><ranking>i,j,…</ranking>` with valid candidate numbers only.

    Args:
        num_candidates: how many candidates the prompt shows.
        base: the number of the first candidate.
        max_ranked: the most numbers admitted; at least one is required.
        think_chars: the longest thought, in characters; it cannot contain `<`.

    Returns:
        A regular expression for the whole output. Its size grows with the digits of the largest number, not with
        `num_candidates`.

    Raises:
        ValueError: no candidates, `max_ranked` below 1, or a negative `base` or `think_chars`.
    """
    if num_candidates < 1 or max_ranked < 1 or base < 0 or think_chars < 0:
        raise ValueError(f"cannot rank: {num_candidates=}, {max_ranked=}, {base=}, {think_chars=}")
    number = f"({'|'.join(_numbers(base, base + num_candidates - 1))})"
    more = min(max_ranked, num_candidates) - 1
    numbers = number if more == 0 else f"{number}(,{number}){{0,{more}}}"
    think = f"[^<]{{0,{think_chars}}}" if think_chars else ""
    return f"<think>{think}</think><ranking>{numbers}</ranking>"


def _numbers(low: int, high: int) -> Iterator[str]:
    """Patterns that together match exactly the decimal numbers `low` to `high`, without leading zeros."""
    for length in range(len(str(low)), len(str(high)) + 1):
        smallest = max(low, 10 ** (length - 1) if length > 1 else 0)
        yield from _same_length(str(smallest), str(min(high, 10**length - 1)))


def _same_length(low: str, high: str) -> Iterator[str]:
    """Patterns for the digit strings from `low` to `high`, which have the same length."""
    if len(low) == 0:
        yield ""
    elif low[0] == high[0]:
        yield from (low[0] + rest for rest in _same_length(low[1:], high[1:]))
    else:
        rest = len(low) - 1
        first, last = int(low[0]), int(high[0])
        if low[1:] != "0" * rest:
            yield from (low[0] + tail for tail in _same_length(low[1:], "9" * rest))
            first += 1
        if high[1:] != "9" * rest:
            last -= 1
        if first <= last:
            yield (f"[{first}-{last}]" if first < last else str(first)) + "[0-9]" * rest
        if high[1:] != "9" * rest:
            yield from (high[0] + tail for tail in _same_length("0" * rest, high[1:]))
