"""Measure the coarse filter, and each method to order by its scores: python -m stages.evaluate_coarse <dataset>."""

import math

import pyarrow as pa

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import column_by, read_parquet
from memsifter.io.paths import dataset_directory, orders_file, results_directory
from memsifter.metrics.results import ORDERS_FOLDER, measure_rankings, scope_metrics, write_results
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import ORDERS, Params


def main(params: Params, dataset: str) -> dict[str, float]:
    """Write `results/orders/<dataset>/`."""
    questions = load_dataset(dataset_directory(dataset), [params.evaluate.split])
    was_read = dataset in params.retrieval.likelihood.datasets
    orders = [method for method in ORDERS if was_read or method != "fitted_likelihood"]
    schema = pa.schema([("question_id", pa.string()), *((method, pa.list_(pa.float32())) for method in orders)])
    table = read_parquet(orders_file(dataset), schema)
    results = {}
    for method in orders:
        scores = column_by(table, "question_id", method)
        rankings = {}
        for question in questions.questions:
            names = questions.haystack_of(question).session_ids
            found = scores.get(question.question_id, ())
            if len(found) != len(names) or not all(map(math.isfinite, found)):
                raise MemSifterError(
                    f"{orders_file(dataset)}: question {question.question_id!r} lacks its {len(names)} scores of "
                    f"{method}; repeat order"
                )
            order = order_by_score(found)
            rankings[question.question_id] = [names[position] for position in order]
        results[method] = measure_rankings(questions.questions, rankings, params.evaluate.ks)
    metrics = write_results(
        results_directory(ORDERS_FOLDER, dataset), results, params.evaluate.bootstrap_samples, params.seed
    )
    return scope_metrics(metrics, params.evaluate.split, dataset)


if __name__ == "__main__":
    run_stage(main)
