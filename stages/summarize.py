"""One table over all methods and datasets: python -m stages.summarize.

Writes `reports/summary.md` (also printed) and `reports/retrieval.csv` (a DVC plot).
"""

from memsifter.command import run_stage
from memsifter.io.files import write_text
from memsifter.io.paths import ROOT, results_directory
from memsifter.metrics.results import ORDERS_FOLDER
from memsifter.metrics.summary import order_rankers, render_curve, render_summary
from memsifter.params import Params


def main(params: Params) -> None:
    """Write `reports/`."""
    methods = (ORDERS_FOLDER, *order_rankers(params.matrix.rankers, params.rounds))
    results = {
        dataset: {method: results_directory(method, dataset) for method in methods}
        for dataset in params.matrix.datasets
    }
    summary = render_summary(results, params.evaluate.bootstrap_samples, params.seed)
    write_text(ROOT / "reports" / "summary.md", summary)
    write_text(ROOT / "reports" / "retrieval.csv", render_curve(results))
    print(summary, flush=True)


if __name__ == "__main__":
    run_stage(main)
