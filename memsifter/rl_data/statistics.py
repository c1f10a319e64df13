"""What a round's RL data holds: as JSON beside the rows, as a page to read, and as a table to plot."""

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from tabulate import tabulate

from memsifter.io.display import csv_cell
from memsifter.params import RoundParams
from memsifter.rl_data.draw import NDCG_K
from memsifter.rl_data.eligibility import Drop
from memsifter.rl_data.recipe import DatasetRows

_BINS = 10


def describe_round(
    datasets: Sequence[DatasetRows], training_round: RoundParams, files: Mapping[str, int], version: str
) -> dict[str, Any]:
    """The figures of a round's data as plain values (`report.json`).

    Args:
        datasets: what was taken from each, in recipe order.
        training_round: the round.
        files: rows by file name.
        version: of the data.
    """
    return {
        "version": version,
        "rows": {"train": sum(len(item.train) for item in datasets), "test": sum(len(item.test) for item in datasets)},
        "files": dict(files),
        "anchor": training_round.anchor,
        "datasets": {item.name: _describe(item, training_round.start_from) for item in datasets},
    }


def render_page(figures: Mapping[str, Any], round_name: str) -> str:
    """The figures as Markdown (`report.md`)."""
    datasets: Mapping[str, Any] = figures["datasets"]
    rows = figures["rows"]
    lines = [
        f"# RL data of {round_name}",
        "",
        f"{rows['train']} train rows, {rows['test']} test rows, version `{figures['version']}`.",
        "",
        "## Questions",
        "",
        _table(
            ["dataset", "split", "available", "train", "test", "not drawn", "dropped"],
            [
                [name, split, *(counts[key] for key in ("available", "train", "test", "not_drawn")), _drops(counts)]
                for name, entry in datasets.items()
                for split, counts in entry["splits"].items()
            ],
        ),
        "",
    ]
    dropped = {key for entry in datasets.values() for counts in entry["splits"].values() for key in counts["dropped"]}
    lines += [f"- `{reason}`: {reason.meaning}" for reason in Drop if reason in dropped] + [""] * bool(dropped)
    lines += [f"## Train questions by NDCG@{NDCG_K}", ""]
    lines += [_sampling(name, entry, figures["anchor"]) for name, entry in datasets.items()]
    shown = [[name, *entry["ndcg"]["histogram"]] for name, entry in datasets.items()]
    lines += ["", _table(["dataset", *_bin_names()], shown), "", "## Tokens of the ranker's prompt", ""]
    lengths = [
        [name, *(f"{value:.0f}" for value in entry["prompt_tokens"].values())] for name, entry in datasets.items()
    ]
    lines += [_table(["dataset", "min", "mean", "max"], lengths)]
    return "\n".join(lines) + "\n"


def render_histogram(figures: Mapping[str, Any]) -> str:
    """CSV of the train questions by NDCG@10: dataset, ndcg (a range), count."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "ndcg", "count"])
    for name, entry in figures["datasets"].items():
        writer.writerows([csv_cell(name), *row] for row in zip(_bin_names(), entry["ndcg"]["histogram"], strict=True))
    return stream.getvalue()


def _describe(item: DatasetRows, start_from: str) -> dict[str, Any]:
    histogram, _ = np.histogram(item.ndcg, bins=_BINS, range=(0, 1))
    return {
        "kind": item.kind,
        "method": item.method,
        "splits": {
            split: {
                "available": counts.available,
                "train": counts.train,
                "test": counts.test,
                "not_drawn": counts.not_drawn,
                "dropped": {str(reason): count for reason, count in counts.dropped.items()},
            }
            for split, counts in item.counts.items()
        },
        "ndcg": {
            "ranking": start_from if item.method == "anchor" else "coarse",
            "mean": fmean(item.ndcg),
            "histogram": histogram.tolist(),
        },
        "prompt_tokens": {
            "min": min(item.prompt_tokens),
            "mean": fmean(item.prompt_tokens),
            "max": max(item.prompt_tokens),
        },
    }


def _sampling(name: str, entry: Mapping[str, Any], anchor: float) -> str:
    if entry["method"] == "anchor":
        how = f"nearest to {anchor:g} in the rankings of `{entry['ndcg']['ranking']}`"
    else:
        how = "at random, since they have no rankings; measured in the coarse order"
    return f"- {name}: drawn {how}; mean {entry['ndcg']['mean']:.3f}"


def _bin_names() -> list[str]:
    return [f"{number / _BINS:.1f}-{(number + 1) / _BINS:.1f}" for number in range(_BINS)]


def _drops(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts["dropped"].items()) or "none"


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return str(tabulate(rows, headers, "github", disable_numparse=True))
