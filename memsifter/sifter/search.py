"""One search: the sessions of a call as a dataset of one haystack, through the functions of the stages."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from memsifter.corpus.chronology import in_time_order
from memsifter.corpus.records import Issue, Record
from memsifter.corpus.sessions import NO_CATEGORY, Haystack, Question, Session
from memsifter.corpus.store import Dataset, build_dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.likelihood import LIKELIHOOD
from memsifter.llm.tokens import Tokenizer
from memsifter.ranking.rows import order_rows
from memsifter.retrieval.bm25 import SessionTerms, read_terms
from memsifter.retrieval.embedder import (
    EmbeddingTables,
    embed_questions,
    embed_texts,
    embedding_settings,
    question_texts,
)
from memsifter.retrieval.excerpts import SessionViews
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.sifter.coarse import CoarseOrder, order_sessions
from memsifter.sifter.encoder import TextEncoder, encode_missing
from memsifter.sifter.inputs import HAYSTACK, as_text, report_issues
from memsifter.sifter.ranker import Ranker
from memsifter.sifter.reader import LocalReader
from memsifter.sifter.results import SiftedSession
from memsifter.sifter.settings import SifterSettings
from memsifter.sifter.vector_store import SearchVectors, VectorStore

Date = str | date | None
"""When a question is asked, as `memsifter.corpus.dates` reads it; None where that is not known."""


@dataclass(frozen=True)
class Prepared:
    """What is known of a haystack's distinct sessions beforehand.

    Attributes:
        units: the table of their units (`memsifter.retrieval.embedding_tables`).
        terms: their terms, by session key.
    """

    units: pa.Table
    terms: Mapping[str, SessionTerms]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        dataset: the questions, in the order asked, their haystack in the order of time, and the collection's haystacks.
        lexical: the terms of the dataset.
        rankings: the ids of all sessions, best first, by question id.
        probabilities: of the same sessions (`probabilities` in `memsifter.ranking.rows`).
        sessions: for each question what is given back.
    """

    dataset: Dataset
    lexical: LexicalIndex
    rankings: Mapping[str, Sequence[str]]
    probabilities: Mapping[str, Sequence[float | None]]
    sessions: tuple[list[SiftedSession], ...]


class Searcher:
    """Searches sessions with one embedder, and one ranker or none; for several threads."""

    def __init__(
        self,
        encoder: TextEncoder,
        settings: SifterSettings,
        weights: Mapping[str, float],
        ranker: Ranker | None,
        vectors: VectorStore,
        reader: LocalReader | None = None,
        collection: Dataset | None = None,
    ) -> None:
        """The parts, as `memsifter.sifter.sifter.Sifter` describes them.

        Raises:
            MemSifterError: the settings, the weights and the reader do not fit together.
        """
        _check_method(settings.retrieval.fusion, weights, reader)
        self.encoder, self.settings, self.vectors = encoder, settings, vectors
        self._weights, self._ranker, self._reader = weights, ranker, reader
        self._collection = collection
        self._collection_terms: dict[str, SessionTerms] = {}
        if collection is not None:
            self._collection_terms = {key: read_terms(collection.turns(key)) for key in collection.session_keys}

    @property
    def tokenizer(self) -> Tokenizer:
        """Counts what an LLM is shown: the ranker's, which is an LLM's, else the embedder's."""
        tokenizer: Tokenizer = self._ranker.tokenizer if self._ranker else self.encoder.reader.tokenizer
        return tokenizer

    def search(
        self,
        sessions: Sequence[Session],
        asked: Sequence[tuple[str, Date]],
        top_k: int,
        min_score: float | None = None,
        prepared: Prepared | None = None,
    ) -> Found:
        """Rank the sessions for each question.

        Args:
            sessions: checked, with ids that are unique.
            asked: the questions, at least one, with their dates.
            top_k: the most sessions to give back for each.
            min_score: leaves out sessions whose coarse score is lower.
            prepared: of these sessions, where it is known.

        Raises:
            MemSifterError: a question is malformed, `top_k` is below 1, or `min_score` is no number.
        """
        if top_k < 1:
            raise MemSifterError(f"top_k is {top_k}; it must be at least 1")
        if min_score is not None and math.isnan(min_score):
            raise MemSifterError("min_score is not a number; leave it out to get the best sessions anyway")
        dataset = build_dataset(_records(sessions, asked))
        if self._collection is not None:
            dataset = dataset.within(self._collection)
        known = self._terms(dataset, prepared)
        tables = self._embed(dataset, prepared)
        coarse = order_sessions(dataset, tables, self.settings.retrieval, self._weights, known, self._reader)
        rows = self._rank(coarse)
        indices = {session.session_id: index for index, session in enumerate(sessions)}
        excerpts = coarse.excerpts(self.encoder.reader.tokenizer, self.settings.excerpt_tokens)
        return Found(
            dataset,
            coarse.lexical,
            {name: row["ranking"] for name, row in rows.items()},
            {name: row["probabilities"] for name, row in rows.items()},
            tuple(
                self._describe(coarse, excerpts, question, rows[question.question_id], indices, top_k, min_score)
                for question in dataset.questions
            ),
        )

    def _terms(self, dataset: Dataset, prepared: Prepared | None) -> list[SessionTerms] | None:
        """The terms of each of the dataset's sessions where some are known; None where none are."""
        if prepared is None and not self._collection_terms:
            return None
        others = self._collection_terms
        if prepared is None:
            own = {key: read_terms(dataset.turns(key)) for key in dataset.asked_keys if key not in others}
        else:
            own = dict(prepared.terms)
        return [others.get(key) or own[key] for key in dataset.session_keys]

    def _embed(self, dataset: Dataset, prepared: Prepared | None) -> EmbeddingTables:
        reader = self.encoder.reader
        self.vectors.trim()
        vectors = SearchVectors(self.vectors)

        def compute(texts: Mapping[bytes, str]) -> int:
            return encode_missing(texts, vectors, self.encoder)

        if prepared is None:
            return embed_texts(dataset, reader, vectors, compute)
        computed = compute(question_texts(dataset, reader))
        settings = embedding_settings(reader, prepared.units.schema.field("vector").type.list_size)
        return EmbeddingTables(settings, prepared.units, embed_questions(dataset, reader, vectors), computed)

    def _rank(self, coarse: CoarseOrder) -> dict[str, dict[str, Any]]:
        """Rows of `memsifter.ranking.rows.RANKINGS_SCHEMA`, by question id."""
        scores = dict(coarse.scores)
        if self._ranker is None:
            return {row["question_id"]: row for row in order_rows(coarse.dataset, scores)}
        return {row["question_id"]: row for row in self._ranker.rank(coarse.dataset, scores, coarse.lexical)}

    def _describe(
        self,
        coarse: CoarseOrder,
        excerpts: SessionViews,
        question: Question,
        row: Mapping[str, Any],
        indices: Mapping[str, int],
        top_k: int,
        min_score: float | None,
    ) -> list[SiftedSession]:
        haystack = coarse.dataset.haystack_of(question)
        places = {name: place for place, name in enumerate(haystack.session_ids)}
        scores = coarse.scores[question.question_id]
        thought = None if self._ranker is None else self._ranker.thought(row["response"])
        best = [places[name] for name in row["ranking"][:top_k]]
        kept = [place for place in best if min_score is None or scores[place] >= min_score]
        shown = excerpts.show(question, [haystack.session_keys[place] for place in kept])
        names = haystack.session_ids
        return [
            SiftedSession(
                indices[names[place]], names[place], haystack.dates[place], float(scores[place]), view.text, thought
            )
            for place, view in zip(kept, shown, strict=True)
        ]


def _check_method(method: str, weights: Mapping[str, float], reader: LocalReader | None) -> None:
    reads = method == "fitted_likelihood"
    if reads and reader is None:
        raise MemSifterError(
            "retrieval.fusion is fitted_likelihood: give the LLM that reads sessions (reader), or set it to fitted"
        )
    if reader is not None and not reads:
        raise MemSifterError(f"a reader is given, but retrieval.fusion is {method}; set it to fitted_likelihood")
    if reads != (LIKELIHOOD in weights):
        raise MemSifterError(
            f"the weights {'lack one' if reads else 'have one'} of {LIKELIHOOD}; give those of {method}"
        )


def _records(sessions: Sequence[Session], asked: Sequence[tuple[str, Date]]) -> Iterable[Record]:
    """The haystack in the order of time and its questions; what is wrong with dates is logged."""
    issues: list[Issue] = []
    for record in in_time_order([Haystack(HAYSTACK, tuple(sessions)), *_questions(asked)]):
        if isinstance(record, Issue):
            issues.append(record)
        else:
            yield record
    report_issues(issues)


def _questions(asked: Sequence[tuple[str, Date]]) -> Iterator[Question]:
    for number, (text, day) in enumerate(asked, start=1):
        if not isinstance(text, str):
            raise MemSifterError(f"question: expected a text, got {type(text).__name__}")
        name = f"question_{number}"
        yield Question(name, "test", HAYSTACK, text, as_text(day, "question_date"), "", NO_CATEGORY, ())
