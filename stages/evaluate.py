"""Measure the rankings and the answers: python -m stages.evaluate <ranker> <dataset>.

With `evaluate.judge` set, an LLM judges each answer against the reference as well.
"""

import pyarrow as pa

from memsifter.chat.judge import judge_answers
from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import column_by, read_parquet
from memsifter.io.paths import (
    answers_file,
    cache_directory,
    dataset_directory,
    rank_fusion_file,
    rankings_file,
    results_directory,
)
from memsifter.metrics.answers import ANSWER_METRICS
from memsifter.metrics.results import FUSION_WEIGHT, measure_rankings, scope_metrics, write_results
from memsifter.params import Params
from memsifter.ranking.weight import read_rank_fusion

RANKED = pa.schema([("question_id", pa.string()), ("ranking", pa.list_(pa.string()))])
SCORES = pa.struct([(name, pa.float64()) for name in ANSWER_METRICS])
ANSWERED = pa.schema([("question_id", pa.string()), ("answer", pa.string()), ("scores", SCORES)])


def main(params: Params, ranker: str, dataset: str) -> dict[str, float]:
    """Write `results/<ranker>/<dataset>/`."""
    questions = load_dataset(dataset_directory(dataset), [params.evaluate.split]).questions
    ranked = read_parquet(rankings_file(ranker, dataset), RANKED)
    rankings = column_by(ranked, "question_id", "ranking")
    answered = read_parquet(answers_file(ranker, dataset), ANSWERED, nullable=["answer"])
    scores = column_by(answered, "question_id", "scores")
    if params.evaluate.judge is not None:
        answers = column_by(answered, "question_id", "answer")
        referenced = [question for question in questions if question.answer.strip()]  # nothing to judge by without
        verdicts = judge_answers(referenced, answers, params.evaluate.judge, cache_directory("answers"))
        for name, verdict in verdicts.items():
            scores[name]["judge"] = verdict
    results = {ranker: measure_rankings(questions, rankings, params.evaluate.ks, scores)}
    weight = read_rank_fusion(rank_fusion_file(ranker, dataset)).weight
    about = {} if weight is None else {FUSION_WEIGHT: weight}
    samples, directory = params.evaluate.bootstrap_samples, results_directory(ranker, dataset)
    metrics = write_results(directory, results, samples, params.seed, about)
    return scope_metrics(metrics, params.evaluate.split, dataset)


if __name__ == "__main__":
    run_stage(main)
