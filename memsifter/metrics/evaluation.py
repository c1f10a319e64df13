"""Per-question results of rankings and answers."""

from collections.abc import Iterable, Mapping, Sequence

from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.metrics.retrieval import retrieval_metrics
from memsifter.metrics.summary import QuestionResult


def measure_rankings(
    questions: Iterable[Question],
    rankings: Mapping[str, Sequence[str]],
    ks: Sequence[int],
    answer_scores: Mapping[str, Mapping[str, float]] | None = None,
) -> list[QuestionResult]:
    """Retrieval metrics of every question, and its answer's scores beside them.

    A question without gold sessions has no retrieval metrics; it still counts for its answer.

    Args:
        questions: What was asked.
        rankings: Complete rankings (session ids, best first) by question id.
        ks: Cut-offs.
        answer_scores: Scores of the answers by question id.

    Raises:
        MemSifterError: a question has no ranking or no answer.
    """
    results = []
    for question in questions:
        name = question.question_id
        if name not in rankings:
            raise MemSifterError(f"question {name!r} has no ranking; repeat rank for its split")
        if answer_scores is not None and name not in answer_scores:
            raise MemSifterError(f"question {name!r} has no answer; repeat chat for its split")
        gold = set(question.answer_session_ids)
        values = retrieval_metrics(gold, rankings[name], ks) if gold else {}
        values |= answer_scores[name] if answer_scores else {}
        results.append(QuestionResult(name, question.category, values))
    return results
