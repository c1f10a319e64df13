from pathlib import Path

import numpy as np

from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets import read_dataset
from memsifter.fusion.combine import standardize
from memsifter.metrics.retrieval import ndcg, order_by_score
from memsifter.params import Bm25Params
from memsifter.retrieval.dates import DateIndex
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.score_lists import max_per_group


def test_words_and_dates_alone_find_most_evidence_of_locomo(shared_data: Path) -> None:
    records = list(read_dataset("locomo", path=str(shared_data / "locomo" / "locomo6.json")))
    haystacks = [record for record in records if isinstance(record, Haystack)]
    questions = [record for record in records if isinstance(record, Question) and record.answer_session_ids]
    sessions = [session for haystack in haystacks for session in haystack.sessions]
    texts = [question.question for question in questions]
    words = LexicalIndex([session.turns for session in sessions], texts, Bm25Params(k1=1.2, b=0.75, window_turns=4))
    dates = DateIndex([(session.key, session.date) for session in sessions], texts)
    gains, first = [], 0
    for haystack in haystacks:
        rows = np.arange(first, first := first + len(haystack.sessions))
        asked = np.flatnonzero([question.haystack_id == haystack.haystack_id for question in questions])
        scores = [
            words.session_scores(asked, rows),
            max_per_group(*words.window_scores(asked, rows, 4)),
            dates.scores(asked, rows),
        ]
        offsets = np.arange(0, len(asked) * len(rows) + 1, len(rows))
        session, window, date = (standardize(kind.ravel(), offsets).reshape(len(asked), -1) for kind in scores)
        for question, row in zip(asked, (session + window) / 2 + date, strict=True):
            ranking = [haystack.sessions[position].session_id for position in order_by_score(row)]
            gains.append(ndcg(set(questions[question].answer_session_ids), ranking, 10))
    assert len(gains) == 883
    assert np.mean(gains) > 0.82
