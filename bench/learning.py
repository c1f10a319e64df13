"""What a training round taught, as Markdown: python -m bench.learning ROUND DIRECTORY [--orders NAME=FILE].

Reads `reports/training/ROUND/` as the train stage left it, draws `curve.svg` in DIRECTORY, and prints the gain on the
round's validation questions. Then, for the held-out questions of `--dataset`: each coarse order, the ranker before and
after the round by itself (`alone`: the candidates as it orders them), and fused with the coarse order as the pipeline
does. Differences are to the coarse order that rankers start from, paired by question. `--orders` adds that order of
another run, such as one with another model for the likelihood.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "memsifter"  # the same curve is the same file

from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first

from memsifter.command import command  # noqa: E402
from memsifter.corpus.sessions import Question  # noqa: E402
from memsifter.corpus.store import Dataset, load_dataset  # noqa: E402
from memsifter.io.files import read_json, read_parquet  # noqa: E402
from memsifter.io.paths import (  # noqa: E402
    dataset_directory,
    orders_file,
    rankings_file,
    training_report_directory,
)
from memsifter.metrics.bootstrap import bootstrap_interval, paired_bootstrap_interval  # noqa: E402
from memsifter.metrics.results import read_csv  # noqa: E402
from memsifter.metrics.retrieval import ndcg, order_by_score  # noqa: E402
from memsifter.params import load_params  # noqa: E402
from memsifter.ranking.rows import RANKINGS_SCHEMA  # noqa: E402

_NAMES = {"reward": "reward", "ndcg": "NDCG@K", "well_formed": "well-formed"}
_SAMPLES, _SEED = 2000, 7
_CUTOFFS = (1, 10)
_CEILING = "best order of its candidates"


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("round", help="a training round, such as round1")
    parser.add_argument("directory", type=Path, help="where curve.svg goes")
    parser.add_argument("--dataset", default="sample", help="the held-out questions: its test split")
    parser.add_argument("--orders", nargs="*", default=[], metavar="NAME=FILE", help="data/orders/… of other runs")
    arguments = parser.parse_args()
    with command():
        report = training_report_directory(arguments.round)
        gain = read_json(report / "validation.json")
        arguments.directory.mkdir(parents=True, exist_ok=True)
        _draw(read_csv(report / "curve.csv", ["series"]), arguments.directory / "curve.svg")
    print(f"{gain['questions']} held-out questions, step {gain['first_step']} against step {gain['last_step']}\n")
    print("| | before | after | gain [95 % paired bootstrap interval] |\n|---|---|---|---|")
    for key, name in _NAMES.items():
        values = gain[key]
        print(
            f"| {name} | {values['first']:.3f} | {values['last']:.3f} | "
            f"{values['gain']:+.3f} [{values['gain_low']:+.3f}, {values['gain_high']:+.3f}] |"
        )
    with command():
        print(
            "\n" + _held_out(arguments.round, arguments.dataset, dict(item.split("=", 1) for item in arguments.orders))
        )


def _held_out(round_name: str, dataset: str, others: Mapping[str, str]) -> str:
    """NDCG of every order on the test questions that have gold sessions, and its difference to the coarse order."""
    data = load_dataset(dataset_directory(dataset), {"test"})
    asked = [question for question in data.questions if question.answer_session_ids]
    found: dict[str, dict[str, list[str]]] = {}
    coarse = {row["question_id"]: row for row in read_parquet(orders_file(dataset)).to_pylist()}
    for method in [name for name in next(iter(coarse.values())) if name not in ("question_id", "coarse")]:
        found[method] = _rankings(asked, data, coarse, method)
    for name, file in others.items():
        rows = {row["question_id"]: row for row in read_parquet(Path(file)).to_pylist()}
        found[name] = _rankings(asked, data, rows, "coarse")
    reference = _rankings(asked, data, coarse, "coarse")
    for ranker in (load_params().rounds[round_name].start_from, round_name):
        written = read_parquet(rankings_file(ranker, dataset), RANKINGS_SCHEMA).to_pylist()
        # Rankings of train questions may stand there as well.
        rows = {row["question_id"]: row for row in written if row["question_id"] in reference}
        alone = {name: _complete(row["own_order"], reference[name]) for name, row in rows.items()}
        found |= {f"{ranker} alone": alone, ranker: {name: row["ranking"] for name, row in rows.items()}}
        found[_CEILING] = {
            item.question_id: _complete(
                [name for name in rows[item.question_id]["candidates"] if name in item.answer_session_ids],
                reference[item.question_id],
            )
            for item in asked
        }
    found[_CEILING] = found.pop(_CEILING)  # the last row
    starts = {k: _ndcg(asked, reference, k) for k in _CUTOFFS}
    return _table(asked, found, starts)


def _table(
    asked: list[Question], found: Mapping[str, Mapping[str, list[str]]], starts: Mapping[int, NDArray[np.float64]]
) -> str:
    rows = []
    for name, rankings in found.items():
        cells = [f"`{name}`"]
        for k in _CUTOFFS:
            values = _ndcg(asked, rankings, k)
            mean, gain = (
                bootstrap_interval(values, _SAMPLES, _SEED),
                paired_bootstrap_interval(values, starts[k], _SAMPLES, _SEED),
            )
            cells += [f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"]
            cells += [f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"]
        rows.append(cells)
    columns = ["order", *(column for k in _CUTOFFS for column in (f"NDCG@{k}", "minus coarse"))]
    table: str = pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True)
    return f"{len(asked)} held-out questions\n\n{table}"


def _rankings(
    asked: list[Question], data: Dataset, rows: Mapping[str, Mapping[str, list[float]]], method: str
) -> dict[str, list[str]]:
    return {
        item.question_id: [
            data.haystack_of(item).session_ids[place] for place in order_by_score(rows[item.question_id][method])
        ]
        for item in asked
    }


def _complete(named: list[str], rest: list[str]) -> list[str]:
    return list(dict.fromkeys([*named, *rest]))


def _ndcg(asked: list[Question], rankings: Mapping[str, list[str]], k: int) -> NDArray[np.float64]:
    return np.asarray([ndcg(set(item.answer_session_ids), rankings[item.question_id], k) for item in asked])


def _draw(curve: pd.DataFrame, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for series, points in curve.groupby("series", sort=False):
        validation = series.startswith("validation")
        axes.plot(
            points["step"],
            points["value"],
            label=series,
            marker="o" if validation else "",
            linewidth=2 if validation else 1,
        )
    axes.set(xlabel="step", ylabel="mean over responses")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
