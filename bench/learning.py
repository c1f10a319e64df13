"""The curve of a training round and what it gained: python -m bench.learning ROUND DIRECTORY.

Reads `reports/training/ROUND/` as the train stage left it, draws `curve.svg` in DIRECTORY, and prints the gain on the
held-out questions as a Markdown table. The committed results are those of

    make params PROFILE=learning && dvc repro train@round1 && python -m bench.learning round1 docs/results/learning
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "memsifter"  # the same curve is the same file

from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first

from memsifter.command import command  # noqa: E402
from memsifter.io.files import read_json  # noqa: E402
from memsifter.io.paths import training_report_directory  # noqa: E402
from memsifter.metrics.results import read_csv  # noqa: E402

_NAMES = {"reward": "reward", "ndcg": "NDCG@K", "well_formed": "well-formed"}


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("round", help="a training round, such as round1")
    parser.add_argument("directory", type=Path, help="where curve.svg goes")
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
