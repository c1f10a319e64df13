"""The orders of the coarse filter: dense, lexical, their sum with weights set by hand, and with fitted weights."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memsifter.fusion.standardize import standardize
from memsifter.params import RetrievalParams
from memsifter.retrieval.score_lists import ScoreLists

METHODS = ("dense", "lexical", "zsum", "fitted")


def weighted_sum(lists: ScoreLists, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Sum of the standardised scores, each times its weight; float64 [entries]."""
    total = np.zeros(int(lists.offsets[-1]))
    for name, weight in weights.items():
        total += weight * standardize(lists.columns[name], lists.offsets)
    return total


def fuse(lists: ScoreLists, params: RetrievalParams, fitted_weights: Mapping[str, float]) -> ScoreLists:
    """Every way to order the sessions, under the names of `METHODS`.

    `dense` is the best chunk's cosine, `lexical` the mean of the standardised lexical parts, `zsum` the sum of both and
    of the agreement of dates, standardised and weighted by `retrieval.weights`; `fitted` sums the scores of
    `fitted_weights`.
    """
    parts = params.lexical_parts
    columns = {
        "dense": lists.columns["dense_chunk_max"],
        "lexical": weighted_sum(lists, {name: 1 / len(parts) for name in parts}),
        "date": lists.columns["date"],
    }
    kinds = ScoreLists(lists.question_ids, lists.offsets, columns)
    zsum = weighted_sum(kinds, params.weights.model_dump())
    fitted = weighted_sum(lists, fitted_weights)
    orders = {"dense": columns["dense"], "lexical": columns["lexical"], "zsum": zsum, "fitted": fitted}
    return ScoreLists(lists.question_ids, lists.offsets, orders)
