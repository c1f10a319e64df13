"""The coarse filter on a dataset in memory: stages `score` and `order`, and excerpts of what they found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.store import Dataset
from memsifter.fusion.combine import combine_scores
from memsifter.llm.tokens import Tokenizer
from memsifter.params import RetrievalParams
from memsifter.retrieval.bm25 import SessionTerms
from memsifter.retrieval.catalogue import computed_scores, needed_units
from memsifter.retrieval.embedder import EmbeddingTables
from memsifter.retrieval.embeddings import assemble_embeddings
from memsifter.retrieval.excerpts import SessionViews
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.scores import index_words, score_questions
from memsifter.sifter.reader import LocalReader

_WHERE = "the sessions given"


@dataclass(frozen=True)
class CoarseOrder:
    """What the coarse filter found.

    Attributes:
        dataset: the questions, their haystack, and the collection's.
        scores: by question id float32 [S], in haystack order: the column `coarse` of stage `order`.
        lexical: the terms of the dataset.
    """

    dataset: Dataset
    scores: Mapping[str, NDArray[np.float32]]
    lexical: LexicalIndex

    def excerpts(self, tokenizer: Tokenizer, max_tokens: int) -> SessionViews:
        """Excerpts of the sessions, at most so many tokens long."""
        return SessionViews(self.dataset, tokenizer, "excerpt", max_tokens, self.lexical)


def order_sessions(
    dataset: Dataset,
    tables: EmbeddingTables,
    params: RetrievalParams,
    weights: Mapping[str, float],
    known: Sequence[SessionTerms] | None = None,
    reader: LocalReader | None = None,
) -> CoarseOrder:
    """Score and order the sessions of every question, as the stages do.

    Args:
        dataset: the questions and their haystacks.
        tables: its embeddings.
        params: `retrieval` of params.yaml.
        weights: of the method `fitted`, or `fitted_likelihood` where that orders.
        known: the terms of each distinct session, where they are known.
        reader: reads the best sessions where `fitted_likelihood` orders.

    Raises:
        MemSifterError: what a score needs was not embedded, or a score is not a finite number.
    """
    names = computed_scores(params)
    embedded = assemble_embeddings(
        tables.settings,
        tables.units,
        tables.questions,
        dataset,
        needed_units(names),
        "m3_lexical" in names,
        _WHERE,
    )
    lexical = index_words(dataset, params, known)
    lists = score_questions(dataset, embedded, params, lexical)
    lists.require_finite(_WHERE, "check the embedder")
    if reader is None:
        methods = combine_scores(lists, params, weights)
    else:
        methods = combine_scores(reader.add_likelihoods(dataset, lists, lexical), params, {}, weights)
    # Stage `order` keeps float32, and so ties are ties here too.
    coarse = methods[params.fusion].astype(np.float32)
    parts = np.split(coarse, lists.offsets[1:-1])
    return CoarseOrder(dataset, dict(zip(lists.question_ids, parts, strict=True)), lexical)
