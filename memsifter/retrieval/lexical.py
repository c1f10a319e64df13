"""Lexical scores: BM25 of sessions, turns, windows of turns and phrases, and of what the named speaker said.

The corpus of each is the whole collection: a term is rare when few sessions (turns, windows, …) of the collection have
it. So one sparse matrix serves every haystack, and what a session's terms weigh does not depend on which others stand
beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import regex
import scipy.sparse as sp
from numpy.typing import NDArray

from memsifter.corpus.sessions import Turn, render_turns
from memsifter.corpus.words import compose_text
from memsifter.params import Bm25Params
from memsifter.retrieval.bm25 import SessionTerms, Vocabulary, bm25_weights, count_terms, multiply
from memsifter.retrieval.score_lists import Scores, concatenate_ranges, max_per_group, select_groups
from memsifter.retrieval.units import window_turns


@dataclass(frozen=True)
class _Counts:
    """Counts of those terms that a question has, and how many terms of any kind each text has."""

    terms: sp.csr_matrix
    lengths: NDArray[np.float32]

    def sum_rows(self, picks: sp.csr_matrix) -> "_Counts":
        """Texts joined: row i of `picks` marks those that text i is made of."""
        return _Counts((picks @ self.terms).tocsr(), picks @ self.lengths)

    def weigh(self, params: Bm25Params) -> sp.csr_matrix:
        """BM25's weights, with these texts as the corpus."""
        return bm25_weights(self.terms, params.k1, params.b, self.lengths)


@dataclass(frozen=True)
class _Units:
    """BM25 weights of the units of each session, session after session; those of session s start at offsets[s]."""

    weights: sp.csr_matrix
    offsets: NDArray[np.int64]


class LexicalIndex:
    """Term weights of the distinct sessions of a collection, each matrix made when it is first asked for.

    Scores are asked for by `questions`, int64 [Q] (positions in the questions given), and `sessions`, int64 [S]
    (positions in the sessions given). A turn is a window of one turn.
    """

    def __init__(
        self,
        sessions: Sequence[Sequence[Turn]],
        questions: Sequence[str],
        params: Bm25Params,
        known: Sequence[SessionTerms] | None = None,
    ) -> None:
        """Number the terms of all turns and questions.

        Args:
            sessions: the turns, at least one, of each distinct session.
            questions: all questions.
            params: BM25's parameters.
            known: the terms of each session (`read_terms`) where they are known; the scores are the same.
        """
        self._params = params
        self._questions = questions
        self._windows: dict[int, _Units] = {}
        self._lengths = np.asarray([len(turns) for turns in sessions], dtype=np.int64)
        self._speakers = [turn.role for turns in sessions for turn in turns]
        vocabulary = Vocabulary()
        self._turn_terms: Sequence[Sequence[int] | NDArray[np.int32]]
        if known is None:
            self._turn_terms = vocabulary.number(render_turns([turn]) for turns in sessions for turn in turns)
        else:
            numbers = (np.asarray(vocabulary.adopt(session.terms), dtype=np.int32) for session in known)
            self._turn_terms = [
                own[np.asarray(turn, dtype=np.int64)]
                for session, own in zip(known, numbers, strict=True)
                for turn in session.turns
            ]
        self._question_terms = vocabulary.number(questions)
        queries = count_terms(self._question_terms, len(vocabulary))
        question_terms = np.unique(queries.indices)
        self._queries = queries[:, question_terms]
        turn_lengths = np.asarray([len(terms) for terms in self._turn_terms], dtype=np.float32)
        self._turns = _Counts(count_terms(self._turn_terms, len(vocabulary))[:, question_terms], turn_lengths)

    def session_scores(self, questions: NDArray[np.int64], sessions: NDArray[np.int64]) -> Scores:
        """BM25 of whole sessions, float32 [Q, S]: rewards terms that are spread over a session."""
        return multiply(self._queries[questions], self._session_weights[sessions])

    def window_scores(
        self, questions: NDArray[np.int64], sessions: NDArray[np.int64], size: int
    ) -> tuple[Scores, NDArray[np.int64]]:
        """BM25 of windows of `size` turns: rewards terms that stand together.

        Returns:
            float32 [Q, windows], and int64 [S] where each session's windows start among them.
        """
        if size not in self._windows:
            self._windows[size] = self._make_windows(size)
        units = self._windows[size]
        rows, starts = select_groups(units.offsets, sessions)
        return multiply(self._queries[questions], units.weights[rows]), starts

    def phrase_scores(self, questions: NDArray[np.int64], sessions: NDArray[np.int64]) -> Scores:
        """BM25 of the pairs of neighbouring terms of whole sessions; float32 [Q, S]."""
        weights, queries = self._phrases
        return multiply(queries[questions], weights[sessions])

    def speaker_scores(self, questions: NDArray[np.int64], sessions: NDArray[np.int64]) -> Scores:
        """BM25 of all that one speaker says in a session, best of the speakers whom the question names; float32 [Q, S].

        A question that names no speaker of the haystack is compared with each of them. A session in which none of the
        named speakers says anything scores 0.
        """
        units, speakers = self._speaker_units
        rows, starts = select_groups(units.offsets, sessions)
        names, columns = np.unique(speakers[rows], return_inverse=True)
        named = named_speakers([self._questions[question] for question in questions], names.tolist())
        counted = named | ~named.any(axis=1, keepdims=True)
        scores = multiply(self._queries[questions], units.weights[rows])
        return max_per_group(np.where(counted[:, columns], scores, 0), starts)

    def term_counts(self, sessions: NDArray[np.int64]) -> NDArray[np.float32]:
        """How many terms, stop words left out, each session has; float32 [S]."""
        return self._sessions.lengths[sessions]

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        return np.cumsum(self._lengths) - self._lengths

    @cached_property
    def _sessions(self) -> _Counts:
        return self._turns.sum_rows(_ranges(self._firsts, self._lengths, len(self._turn_terms)))

    @cached_property
    def _session_weights(self) -> sp.csr_matrix:
        return self._sessions.weigh(self._params)

    def _make_windows(self, size: int) -> _Units:
        windows = [window_turns(length, size) for length in self._lengths.tolist()]
        spans = np.concatenate([first + window for first, window in zip(self._firsts, windows, strict=True)])
        counts = self._turns.sum_rows(_ranges(spans[:, 0], spans[:, 1] - spans[:, 0], len(self._turn_terms)))
        return _Units(counts.weigh(self._params), np.cumsum([0, *map(len, windows)], dtype=np.int64))

    @cached_property
    def _phrases(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        turns, queries = count_phrases(self._turn_terms, self._question_terms)
        counts = _Counts(turns, np.maximum(self._turns.lengths - 1, 0))
        sessions = counts.sum_rows(_ranges(self._firsts, self._lengths, len(self._turn_terms)))
        return sessions.weigh(self._params), queries

    @cached_property
    def _speaker_units(self) -> tuple[_Units, NDArray[np.str_]]:
        """One row per session and speaker in it, in order of appearance, and the speaker of each row."""
        owners = np.repeat(np.arange(len(self._lengths)), self._lengths).tolist()
        pairs = list(zip(owners, self._speakers, strict=True))
        rows = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
        positions = [rows[pair] for pair in pairs]
        shape = (len(rows), len(positions))
        picks = sp.csr_matrix((np.ones(len(positions), np.float32), (positions, np.arange(len(positions)))), shape)
        sizes = np.bincount([owner for owner, _ in rows], minlength=len(self._lengths))
        offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
        weights = self._turns.sum_rows(picks).weigh(self._params)
        return _Units(weights, offsets), np.asarray([name for _, name in rows])


def _ranges(firsts: NDArray[np.int64], lengths: NDArray[np.int64], size: int) -> sp.csr_matrix:
    """Rows of ones: row i marks `lengths[i]` columns from firsts[i] on; float32 [ranges, size]."""
    columns = concatenate_ranges(firsts, lengths)
    offsets = np.append(0, np.cumsum(lengths))
    return sp.csr_matrix((np.ones(len(columns), np.float32), columns, offsets), (len(lengths), size))


_TERM_BITS = 32


def count_phrases(
    texts: Sequence[Sequence[int] | NDArray[np.int32]], questions: Sequence[Sequence[int]]
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Count the pairs of neighbouring terms that occur in at least one question.

    Args:
        texts: numbers of the terms of each text, in order (`Vocabulary.number`).
        questions: the same for each question.

    Returns:
        Two float32 matrices over the same columns: [texts, pairs] and [questions, pairs].
    """
    question_pairs, question_rows = _pairs(questions)
    known, columns = np.unique(question_pairs, return_inverse=True)
    pairs, rows = _pairs(texts)
    places = np.searchsorted(known, pairs)
    found = np.flatnonzero(np.append(known, -1)[places] == pairs)
    return (
        _count(rows[found], places[found], (len(texts), len(known))),
        _count(question_rows, columns, (len(questions), len(known))),
    )


def _pairs(texts: Sequence[Sequence[int] | NDArray[np.int32]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of all texts, each as one number, and the text that each stands in."""
    lengths = np.asarray([len(text) for text in texts], dtype=np.int64)
    terms = np.concatenate([np.empty(0, dtype=np.int64), *(np.asarray(text, dtype=np.int64) for text in texts)])
    owners = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    within = np.flatnonzero(owners[1:] == owners[:-1])
    return (terms[within] << _TERM_BITS) | terms[within + 1], owners[within]


def _count(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


# Whoever asks an assistant about "my" past is the user of those sessions.
_FIRST_PERSON = regex.compile(r"\b(?:I|i(?!\.e\b)|[Mm]e|ME|[Mm]y|MY|[Mm]ine|MINE|[Ww]e|WE|[Oo]ur|OUR)\b|[我咱]")
_USER = "user"
# Letters of scripts that write words without spaces (or, as Korean, particles onto names) do not continue a name.
_INSIDE_WORD = r"[[\p{L}\p{N}\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]]"


def named_speakers(questions: Sequence[str], speakers: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the speakers each question names; a question in the first person names the speaker "user".

    Names are found as whole words, as they are written, with a capital letter (as at the start of a sentence) or all in
    capitals. In small letters a name may be another word: "will" is not Will. Between Chinese characters, which
    nothing separates, any place is the end of a word.

    Returns:
        bool [questions, speakers].
    """
    texts = [_spell(question) for question in questions]
    named = np.zeros((len(questions), len(speakers)), dtype=np.bool_)
    for column, speaker in enumerate(map(_spell, speakers)):
        if not speaker:
            continue
        forms = dict.fromkeys((speaker, speaker[0].upper() + speaker[1:], speaker.upper()))
        either = "|".join(map(regex.escape, forms))
        pattern = regex.compile(rf"(?<!{_INSIDE_WORD})(?:{either})(?!{_INSIDE_WORD})", flags=regex.VERSION1)
        named[:, column] = [
            bool(pattern.search(text) or (speaker == _USER and _FIRST_PERSON.search(text))) for text in texts
        ]
    return named


def _spell(text: str) -> str:
    return " ".join(compose_text(text).split())
