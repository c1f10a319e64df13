"""Read, validate and normalise a dataset: python -m stages.data <dataset>."""

import logging

from tqdm import tqdm

from memsifter.command import run_stage
from memsifter.corpus.store import write_dataset
from memsifter.datasets import read
from memsifter.io.paths import dataset_directory
from memsifter.params import Params

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> dict[str, float]:
    """Write `data/processed/<dataset>/` and report what it holds."""
    records = tqdm(read(params.datasets[dataset], dataset), desc=dataset, unit=" records", mininterval=1)
    report = write_dataset(records, dataset_directory(dataset), params.data.on_error)
    for name, value in report.items():
        if name != "issue_examples":
            logger.info("%s: %s", name.replace("_", " "), value or "none")
    if report["questions_refused"]:
        logger.warning("what was refused is listed in %s", dataset_directory(dataset) / "refused.jsonl")
    for kind, examples in report["issue_examples"].items():
        logger.warning("%s, for example: %s", kind, examples[0])
    return {name: float(value) for name, value in report.items() if isinstance(value, int)}


if __name__ == "__main__":
    run_stage(main)
