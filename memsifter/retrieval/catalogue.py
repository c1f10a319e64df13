"""Every score of the coarse filter by its name, and which of them the parameters ask for.

| name | what it is |
|---|---|
| `dense_turn_max`, `dense_turn_mean3` | cosine of the question with a session's best turn; mean of its best three |
| `dense_window_max`, `dense_chunk_max` | with its best window of `embed.window_turns` turns; its best chunk |
| `dense_session` | with the mean vector of its chunks |
| `m3_lexical`, `m3_multi_vector` | an M3 model's own term weights; its token vectors (late interaction); best chunk |
| `lexical_session`, `lexical_phrase` | BM25 of the session's terms; of its pairs of neighbouring terms |
| `lexical_turn_max`, `lexical_turn_mean3` | BM25 of its best turn; mean of its best three |
| `lexical_window_max` | BM25 of its best window of `retrieval.bm25.window_turns` turns |
| `lexical_narrow_max`, `lexical_wide_max` | the same with half and with twice as many turns |
| `speaker` | BM25 of what the speaker whom the question names says in the session |
| `date`, `relative_date` | agreement with the dates that the question names; with "last May", "two weeks ago", … |
| `length` | logarithm of the number of its terms |

A score of a session depends on the question, the session and the collection, not on the haystack's other sessions; only
`speaker` depends on who speaks in these, since it asks which of the haystack's speakers the question names.
"""

from collections.abc import Iterable, Mapping

from memsifter.params import RetrievalParams, ScoreName, Unit

UNITS: Mapping[ScoreName, Unit] = {
    "dense_turn_max": "turn",
    "dense_turn_mean3": "turn",
    "dense_window_max": "window",
    "dense_chunk_max": "chunk",
    "dense_session": "chunk",
    "m3_lexical": "chunk",
    "m3_multi_vector": "chunk",
}
"""The units whose embeddings a score reads."""


def lexical_parts(params: RetrievalParams) -> tuple[ScoreName, ...]:
    """The scores whose mean, standardised, is the method `lexical`."""
    return ("m3_lexical",) if params.lexical == "m3" else ("lexical_session", "lexical_window_max")


def method_scores(params: RetrievalParams) -> tuple[ScoreName, ...]:
    """The scores that the methods `dense`, `lexical` and `hand_weighted` are made of."""
    return ("dense_chunk_max", *lexical_parts(params), "date")


def computed_scores(params: RetrievalParams) -> tuple[ScoreName, ...]:
    """All scores that are computed: those of the fixed methods, and those that `fitted` weighs."""
    return tuple(dict.fromkeys((*method_scores(params), *params.scores)))


def needed_units(names: Iterable[ScoreName]) -> tuple[Unit, ...]:
    """The units whose embeddings these scores read."""
    return tuple(dict.fromkeys(UNITS[name] for name in names if name in UNITS))
