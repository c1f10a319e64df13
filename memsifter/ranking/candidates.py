"""Which sessions the ranker is shown, and how its ranking of them becomes a ranking of the whole haystack."""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from memsifter.metrics.retrieval import order_by_score

CandidateOrder = Literal["chronological", "similarity"]
Similarities = npt.NDArray[np.floating]


def select_candidates(
    similarities: Similarities,
    session_tokens: Sequence[int] | npt.NDArray[np.integer],
    context_tokens: int,
    max_candidates: int,
    order: CandidateOrder,
    required: Collection[int] = (),
) -> list[int]:
    """Choose the sessions that fill the ranker's context.

    The required sessions are taken first, then others greedily by falling similarity. One that does not fit what is
    left of the budget is passed over, and smaller ones behind it may still fit. Where none is required, the best
    session is always taken; if it alone exceeds the budget, it is the only candidate, and the caller must cut it.

    Args:
        similarities: (n,) coarse scores in haystack order.
        session_tokens: (n,) tokens of each session as the prompt shows it, its heading included.
        context_tokens: tokens that all sessions together may take: the context without the rest of the prompt.
        max_candidates: the most sessions to show, at least 1.
        order: "chronological" presents them in haystack order, "similarity" best first.
        required: haystack positions to take in any case.

    Returns:
        Haystack positions in the order in which the prompt shows them.

    Raises:
        ValueError: no sessions, lengths differ, a similarity is NaN, or the required sessions do not fit.
    """
    if len(similarities) == 0 or len(similarities) != len(session_tokens):
        raise ValueError(f"{len(similarities)} similarities for {len(session_tokens)} sessions")
    ranked = order_by_score(similarities)
    chosen = set(required) or {ranked[0]}
    left = context_tokens - sum(int(session_tokens[position]) for position in chosen)
    if required and (left < 0 or len(chosen) > max_candidates):
        raise ValueError(
            f"{len(chosen)} required sessions of {context_tokens - left} tokens in a context of {max_candidates} "
            f"sessions and {context_tokens} tokens"
        )
    for position in ranked:
        if len(chosen) == max_candidates:
            break
        if position not in chosen and session_tokens[position] <= left:
            chosen.add(position)
            left -= int(session_tokens[position])
    return sorted(chosen) if order == "chronological" else [position for position in ranked if position in chosen]


def full_ranking(indices: Sequence[int], candidates: Sequence[int], similarities: Similarities) -> list[int]:
    """Order the whole haystack: what the ranker named, then its other candidates, then all other sessions.

    Args:
        indices: positions in `candidates`, best first, without repeats (`ParsedRanking.indices`).
        candidates: haystack positions in the order shown to the ranker.
        similarities: (n,) coarse scores; they order the second and the third group.

    Returns:
        All n haystack positions, best first.
    """
    named = [candidates[index] for index in indices]
    placed, shown = set(named), set(candidates)
    rest = [position for position in order_by_score(similarities) if position not in placed]
    return [
        *named,
        *(position for position in rest if position in shown),
        *(position for position in rest if position not in shown),
    ]
