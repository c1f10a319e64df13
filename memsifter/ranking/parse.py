"""The format of a ranking: reading what a ranker wrote, and the pattern that holds an engine to it.

The format is `<think>…</think><ranking>3,0,7</ranking>`. A text that follows it exactly, with every number in range and
none repeated, is `ok`; white space between the parts is allowed, and so is naming fewer than all candidates. Where the
prompt has already written the start of the thoughts, the text is that start and the output together
(`memsifter.llm.tokens.opened_thought`).

A text that deviates is `repaired` where it is certain which candidates it names:

- What counts comes after the last `</think>`; a ranking inside the thoughts is ignored. Missing think tags are
  tolerated.
- The last `<ranking>` with a digit counts; one without only repeats the instruction. Without its close tag, the longest
  list that follows it is read. Without an open tag, the text counts only if it is a list and nothing else, so that
  numbers in prose are never taken for a ranking.
- A list is split at commas and semicolons (also the CJK ones), `|`, `>`, arrows, line ends, "and", and at white space
  or dashes between two numbers: `1-3` is 1, then 3, not a range. An item is a number alone, or holds one number behind
  `session` or `#` and whatever else. Brackets and quotes do not matter; a remark in round brackets behind a number is
  dropped, and so is an item without a digit.
- Items `1. 7`, `2. 3`, … that count up from 1 are a numbered list: 7, then 3.
- Numbers out of range, numbers with a minus sign and repeats are dropped; the first mention of a candidate counts.

Everything else is `failed`: an item with other words or numbers (`"rank": 1`, `2.5`), or lines of several numbers each
that no comma joins, as in a table, where nobody can say which column ranks. All patterns run in linear time.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

Status = Literal["ok", "repaired", "failed"]

# No possessive quantifiers: Python 3.11 before 3.11.5 matches them wrongly around a group.
_EXACT = re.compile(
    r"\s*<think>(?:(?!</?think>|</?ranking>).)*</think>\s*"
    r"<ranking>\s*([0-9]+(?:\s*,\s*[0-9]+)*)\s*</ranking>\s*",
    re.DOTALL,
)
_THINK_END = "</think>"
_BLOCK = 8  # characters of a thought that are repeated together
_OPEN, _CLOSE = "<ranking>", "</ranking>"
_HAS_DIGIT = re.compile(r"\d")
# Escapes: the CJK full-width comma, enumeration comma, semicolon and colon; arrow; en dash, em dash; minus sign.
_COMMAS = r",\uff0c\u3001;\uff1b>\u2192"
_DELIMITERS = rf"{_COMMAS}|\n"
_LIST = re.compile(
    rf"""(?:sessions?|[\s\d{_DELIMITERS}#\[\](){{}}"'_:\uff1a.=\-\u2013\u2014\u2212])*""",
    re.IGNORECASE,
)
_REMARK = re.compile(r"(?<=\d)\s*\([^()]*\)")
_KEY = re.compile(r"\s*\{\s*[\"']?\w+[\"']?\s*[:=]\s*(?=\[)")  # of a JSON object around one list
_JOINED_LINES = re.compile(rf"(?<=[{_COMMAS}])\s*\n|\n(?=\s*[{_COMMAS}])")
_SEPARATOR = re.compile(
    rf"-?[{_DELIMITERS}]+|(?<=\d)(?:\s*[\u2013\u2014]\s*|-|\s+-\s+|\s+(?=[-\u2212]))(?=[-\u2212]?\d)"
    r"|(?<=\d)\s+(?=\d)|\band\b",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"(?:sessions?(?:_id)?|#)[\"']?[ _#:-]?\s*(\d+)", re.IGNORECASE)
_BARE = re.compile(r"\s*(?:[-+\u2013\u2014\u2022]\s+)?[\s\[\](){}\"'.:*]*([-\u2212]?\d+)[\s\[\](){}\"'.:*]*")
_COUNTED = re.compile(r"\s*(\d+)[.)]\s*[\[(\"']?(\d+)[\])\"']?\s*\.?\s*")
_MAX_DIGITS = 18  # no candidate number is longer, and int() refuses strings of thousands of digits


@dataclass(frozen=True, slots=True)
class ParsedRanking:
    """The candidates that a ranker named, best first: 0-based, in range, without repeats, not necessarily all."""

    indices: tuple[int, ...]
    status: Status


def parse_ranking(text: str, num_candidates: int, base: int = 0) -> ParsedRanking:
    """Read a ranking from a ranker's output. Never raises, whatever the text.

    Args:
        text: the whole output, thoughts included, behind what the prompt has already written of it.
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


def complete_ranking(named: Sequence[int], rest: Sequence[int]) -> list[int]:
    """A ranking of everything: what the ranker named, best first, then what else `rest` holds, in its order."""
    return list(dict.fromkeys([*named, *rest]))


def _read_index(digits: str, base: int) -> int:
    digits = digits.strip()
    return int(digits) - base if digits.isdecimal() and len(digits) <= _MAX_DIGITS else -1


def _find_list(text: str) -> str:
    """The part of a malformed output that holds the ranking; "" if there is none."""
    answer = _lower_tags(text).rpartition(_THINK_END)[2]
    before, *blocks = answer.split(_OPEN)
    if not blocks:
        body = before.strip().removesuffix(_CLOSE)
        return body if _LIST.fullmatch(body) else ""
    for block in reversed(blocks):
        body, closed, _ = block.partition(_CLOSE)
        prefix = None if closed else _LIST.match(body)
        body = prefix[0] if prefix else body
        if _HAS_DIGIT.search(body):
            return body
    return ""


def _lower_tags(text: str) -> str:
    return re.sub(r"</?(?:think|ranking)>", lambda match: match[0].lower(), text, flags=re.IGNORECASE)


def _find_numbers(body: str) -> list[str]:
    """The number of each item, as digits; none if it is not certain what the body lists."""
    body = _REMARK.sub("", body)
    key = _KEY.match(body)
    rows = [row for row in _JOINED_LINES.sub(" ", body[key.end() if key else 0 :]).split("\n") if row.strip()]
    lines = [[item for item in _SEPARATOR.split(row) if _HAS_DIGIT.search(item)] for row in rows]
    items = [item for line in lines for item in line]
    labels = [_LABELLED.findall(item) for item in items]
    if all(len(found) == 1 for found in labels):
        return [found[0] for found in labels]
    if len(items) > 1 and (numbered := _read_numbered(items)):
        return numbered
    listed = len(rows) if "|" in body else sum(map(bool, lines))  # a table may have one row below its head
    if listed > 1 and any(len(line) > 1 for line in lines):
        return []
    numbers = []
    for item, found in zip(items, labels, strict=True):
        bare = _BARE.fullmatch(item)
        if not bare and len(found) != 1:
            return []
        numbers.append(bare[1] if bare else found[0])
    return numbers


def _read_numbered(items: Sequence[str]) -> list[str]:
    """The entries of a numbered list; none if these items do not count up from 1."""
    matches = [_COUNTED.fullmatch(item) for item in items]
    entries = [match[2] for place, match in zip(count(1), matches, strict=False) if match and match[1] == str(place)]
    return entries if len(entries) == len(items) else []


def ranking_regex(num_candidates: int, base: int, max_ranked: int, think_chars: int, opened: str = "") -> str:
    """The pattern `<think>…</think><ranking>i,j,…</ranking>` with valid candidate numbers only.

    Args:
        num_candidates: how many candidates the prompt shows.
        base: the number of the first candidate.
        max_ranked: the most numbers admitted; at least one is required.
        think_chars: the longest thought, in characters; it cannot contain `<`.
        opened: what the prompt has already written of the output; the pattern is for what follows.

    Returns:
        A regular expression for what the model writes. Its size grows with the digits of the largest number, not with
        `num_candidates`.

    Raises:
        ValueError: no candidates, `max_ranked` below 1, or a negative `base` or `think_chars`.
    """
    if num_candidates < 1 or max_ranked < 1 or base < 0 or think_chars < 0:
        raise ValueError(f"cannot rank: {num_candidates=}, {max_ranked=}, {base=}, {think_chars=}")
    number = f"({'|'.join(_numbers(base, base + num_candidates - 1))})"
    more = min(max_ranked, num_candidates) - 1
    numbers = number if more == 0 else f"{number}(,{number}){{0,{more}}}"
    think = _up_to(think_chars)
    if "</think>" in opened:
        return f"<ranking>{numbers}</ranking>"
    return f"{'' if opened else '<think>'}{think}</think><ranking>{numbers}</ranking>"


def _up_to(length: int) -> str:
    """A pattern for at most so many characters other than `<`.

    One repetition of thousands takes the grammar's compiler twenty times as long as one of blocks.
    """
    blocks, rest = divmod(length, _BLOCK)
    if blocks < 2:
        return f"[^<]{{0,{length}}}" if length else ""
    return f"([^<]{{{_BLOCK}}}){{0,{blocks - 1}}}[^<]{{0,{_BLOCK + rest}}}"


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
