"""What a training round taught, as Markdown: python -m bench.learning ROUND DIRECTORY [--orders NAME=FILE].

Reads `reports/training/ROUND/` as the train stage left it, draws `curve.svg` in DIRECTORY, and prints the gain on the
round's validation questions. Then, for the held-out questions of `--dataset`: each coarse order, the ranker before and
after the round by itself (`alone`: the candidates as it orders them), and fused with the coarse order as the pipeline
does. Differences are to the coarse order that rankers start from, paired by question. `--orders` adds that order of
another run, such as one with another model for the likelihood.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pyarrow as pa

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "memsifter"  # the same curve is the same file

from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first

from memsifter.command import command  # noqa: E402
from memsifter.corpus.store import Dataset, load_dataset  # noqa: E402
from memsifter.errors import MemSifterError  # noqa: E402
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
from memsifter.ranking.parse import complete_ranking  # noqa: E402
from memsifter.ranking.rows import RANKINGS_SCHEMA  # noqa: E402

_NAMES = {"reward": "reward", "ndcg": "NDCG@K", "well_formed": "well-formed"}
_SAMPLES, _SEED = 2000, 7
_CUTOFFS = (1, 10)
Rankings = Mapping[str, list[int]]
"""Places in the haystack, best first, by question id."""
Places = Mapping[str, Mapping[str, int]]
"""The place in the haystack of each of its session ids, by question id."""
Gold = Mapping[str, set[int]]
"""The places of the gold sessions, by question id."""


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("round", help="a training round, such as round1")
    parser.add_argument("directory", type=Path, help="where curve.svg goes")
    parser.add_argument("--dataset", default="sample", help="the held-out questions: its test split")
    parser.add_argument(
        "--orders", nargs="*", default=[], type=named_file, metavar="NAME=FILE", help="data/orders/… of other runs"
    )
    arguments = parser.parse_args()
    with command():
        report = training_report_directory(arguments.round)
        gain = read_json(report / "validation.json")
        held_out = _held_out(arguments.round, arguments.dataset, dict(arguments.orders))
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
    print(f"\n{held_out}")


def named_file(text: str) -> tuple[str, Path]:
    """NAME=FILE of a command line as argparse's `type`; anything else is its usage error."""
    name, _, file = text.partition("=")
    if not name or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, Path(file)


def _held_out(round_name: str, dataset: str, others: Mapping[str, Path]) -> str:
    """NDCG of every order on the test questions that have gold sessions, and its difference to the coarse order."""
    places, gold = find_places(load_dataset(dataset_directory(dataset), {"test"}))
    orders = read_rows(read_parquet(orders_file(dataset)))
    reference = order_rows(orders, "coarse", gold)
    methods = [name for name in next(iter(orders.values())) if name not in ("question_id", "coarse")]
    found = {method: order_rows(orders, method, gold) for method in methods}
    found |= {name: order_rows(read_rows(read_parquet(file)), "coarse", gold) for name, file in others.items()}
    candidates: dict[str, list[int]] = {}
    for ranker in (load_params().rounds[round_name].start_from, round_name):
        rows = read_rows(read_parquet(rankings_file(ranker, dataset), RANKINGS_SCHEMA))
        own, fused, candidates = (
            {name: [places[name][session] for session in rows[name][column]] for name in gold}
            for column in ("own_order", "ranking", "candidates")
        )
        found[f"{ranker} alone"] = {name: complete_ranking(own[name], reference[name]) for name in gold}
        found[ranker] = fused
    found["best order of its candidates"] = {
        name: complete_ranking([place for place in candidates[name] if place in gold[name]], reference[name])
        for name in gold
    }
    table = render_table(gold, found, dict.fromkeys(found, reference), "coarse", _CUTOFFS)
    return f"{len(gold)} held-out questions\n\n{table}"


def find_places(data: Dataset) -> tuple[Places, Gold]:
    """Where the sessions of each question with gold sessions stand in its haystack, and which of them are gold.

    Raises:
        MemSifterError: no question has gold sessions.
    """
    asked = [question for question in data.questions if question.answer_session_ids]
    if not asked:
        raise MemSifterError("none of the questions has gold sessions: there is nothing to measure")
    places = {
        item.question_id: {name: place for place, name in enumerate(data.haystack_of(item).session_ids)}
        for item in asked
    }
    return places, {
        item.question_id: {places[item.question_id][name] for name in item.answer_session_ids} for item in asked
    }


def read_rows(table: pa.Table) -> dict[str, dict[str, Any]]:
    """The rows of a table by their `question_id`."""
    return {row["question_id"]: row for row in table.to_pylist()}


def order_rows(rows: Mapping[str, Mapping[str, Any]], method: str, names: Iterable[str]) -> Rankings:
    """The rankings that the scores of a method make, of the questions of these names."""
    return {name: order_by_score(rows[name][method]) for name in names}


def render_table(
    gold: Gold, found: Mapping[str, Rankings], references: Mapping[str, Rankings], minus: str, cutoffs: Sequence[int]
) -> str:
    """Mean NDCG of every order and its difference to another one, paired by question, with 95 % intervals; Markdown.

    Args:
        gold: of the questions that count.
        found: rankings of these questions, by what the order is called.
        references: what each order is compared with; an order that it lacks has empty cells there.
        minus: what the references are called.
        cutoffs: each k of NDCG@k.
    """

    def measure(rankings: Rankings, k: int) -> list[float]:
        return [ndcg(gold[name], rankings[name], k) for name in gold]

    rows = []
    for order, rankings in found.items():
        cells = [f"`{order}`"]
        for k in cutoffs:
            values = measure(rankings, k)
            mean = bootstrap_interval(values, _SAMPLES, _SEED)
            cells += [f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]", ""]
            if order in references:
                gain = paired_bootstrap_interval(values, measure(references[order], k), _SAMPLES, _SEED)
                cells[-1] = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        rows.append(cells)
    columns = ["order", *(column for k in cutoffs for column in (f"NDCG@{k}", f"minus {minus}"))]
    table: str = pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True)
    return table


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
