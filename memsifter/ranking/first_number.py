"""Scores from the first number of a ranking: how likely the ranker finds each candidate's number after `<ranking>`.

The probabilities of the first number order all candidates at once (FIRST, Reddy et al. 2024, arXiv 2406.15657), while a
written ranking names a few. They are read in a pass of their own: the prompt, what stands before the first number, and
one token more, of which the engine gives the log-probabilities (before temperature and top-p).

A number may be several tokens ("12" of one token per digit). Numbers that begin alike part at a token: there the same
prompt goes on with the digits so far and one token is decoded again, from the engine's prefix cache but for these
digits. With 1 to 9 candidates there is one such pass, up to 99 candidates ten at the most.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.llm.tokens import Tokenizer
from memsifter.ranking.engine import Response, TokenPrompt

Tokens = tuple[int, ...]
_OPEN = "<ranking>"
_LEAST = 1e-9  # a probability that rounding made 0 or less
_DIGITS = 4  # of a log-probability: far above the rounding errors that differ between machines


def before_number(opened: str, written: str | None = None) -> str | None:
    """What the ranker writes up to the first number.

    Args:
        opened: what the prompt has already written of the output (`memsifter.llm.tokens.opened_thought`).
        written: the ranker's output; None where the grammar leaves it no thoughts, so that it is known beforehand.

    Returns:
        The text to put behind the prompt; None if the output has no ranking after its thoughts.
    """
    if written is None:
        return _OPEN if "</think>" in opened else f"{'' if opened else '<think>'}</think>{_OPEN}"
    thoughts, end, answer = written.rpartition("</think>")
    before, tag, _ = answer.rpartition(_OPEN)
    return f"{thoughts}{end}{before}{tag}" if tag else None


def number_tokens(before: str, numbers: Sequence[int], tokenizer: Tokenizer) -> tuple[list[int], list[Tokens]]:
    """The tokens of the text before the first number, and those of each number behind it.

    Raises:
        MemSifterError: the tokenizer joins a number with what stands before it.
    """
    texts = [before, *(f"{before}{number}" for number in numbers)]
    head, *whole = tokenizer(texts, add_special_tokens=False).input_ids
    for number, tokens in zip(numbers, whole, strict=True):
        if list(tokens[: len(head)]) != list(head) or len(tokens) == len(head):
            raise MemSifterError(
                f"the ranker's tokenizer joins the number {number} with {_OPEN}; set rank.scores to written"
            )
    return list(head), [tuple(tokens[len(head) :]) for tokens in whole]


def branches(labels: Sequence[Tokens]) -> dict[Tokens, Tokens]:
    """Where the numbers part: by the tokens so far, the tokens that may follow; in order of the tokens so far.

    A place where only one token can follow, and no number ends, decides nothing and is left out.
    """
    whole = set(labels)
    following: dict[Tokens, set[int]] = {}
    for label in whole:
        for length in range(len(label)):
            following.setdefault(label[:length], set()).add(label[length])
    parting = {path: tokens for path, tokens in following.items() if len(tokens) > 1 or path in whole}
    return {path: tuple(sorted(parting[path])) for path in sorted(parting)}


def scoring_prompts(prompt: TokenPrompt, head: Sequence[int], labels: Sequence[Tokens]) -> list[TokenPrompt]:
    """One prompt for each place where the numbers part; its id is that of the ranker's prompt, `#` and its number.

    Args:
        prompt: the ranker's prompt.
        head: tokens between the prompt and the first number.
        labels: tokens of each candidate's number.
    """
    return [
        TokenPrompt(
            f"{prompt.prompt_id}#{number}",
            [*prompt.tokens, *head, *path],
            {"temperature": 0.0, "max_tokens": 1, "logprob_token_ids": list(tokens)},
        )
        for number, (path, tokens) in enumerate(branches(labels).items())
    ]


def log_probabilities(
    prompt_id: str, labels: Sequence[Tokens], responses: Mapping[str, Response]
) -> NDArray[np.float64]:
    """The log-probability of each number, in nats; the probabilities of all numbers are 1 together.

    Args:
        prompt_id: of the ranker's prompt.
        labels: tokens of each candidate's number, distinct.
        responses: by id of the `scoring_prompts`.

    Returns:
        float64 [candidates], rounded to four digits.

    Raises:
        MemSifterError: the engine gave no log-probabilities.
    """
    steps: dict[Tokens, dict[int | None, float]] = {}
    for number, (path, tokens) in enumerate(branches(labels).items()):
        given = responses[f"{prompt_id}#{number}"].logprobs
        if given is None or any(token not in given for token in tokens):
            raise MemSifterError(f"{prompt_id!r}: the engine gave no log-probabilities; set rank.scores to written")
        steps[path] = _step([given[token] for token in tokens], tokens, path in labels)
    return np.asarray([round(sum(_along(label, steps)), _DIGITS) for label in labels], dtype=np.float64)


def _step(given: Sequence[float], tokens: Tokens, may_end: bool) -> dict[int | None, float]:
    """Log-probabilities of what may follow at one place; None stands for the end of the number."""
    values = np.asarray(given, dtype=np.float64)
    if may_end:  # any other token ends the number
        end = np.log(max(1.0 - float(np.exp(values).sum()), _LEAST))
        values = np.append(values, end)
    values = values - np.logaddexp.reduce(values)
    return dict(zip([*tokens, *([None] if may_end else [])], values.tolist(), strict=True))


def _along(label: Tokens, steps: Mapping[Tokens, Mapping[int | None, float]]) -> Iterator[float]:
    """The log-probabilities of a number's parts."""
    for length in range(len(label) + 1):
        if (step := steps.get(label[:length])) is not None:
            yield step[label[length] if length < len(label) else None]
