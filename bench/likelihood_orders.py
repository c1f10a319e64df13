"""What likelihoods of several models are worth, as Markdown: python -m bench.likelihood_orders FOLDER NAME=FILE ….

FOLDER is a processed dataset; each FILE is what stage `likelihood` wrote about it, with one model and with another
(`data/likelihoods/…` of their runs). Of each likelihood up to three orders: `alone`, the sessions that were read and no
others; in the sum of all scores with the default weights of params.yaml; and, if --weights has a file for it, in the
sum with the weights of `fitted_likelihood` there. Differences are to the same order by the first likelihood, paired by
question; intervals are 95 %. Only questions with gold sessions count. Weights that were fitted on the questions which
are measured say nothing of others: leave these out by --splits.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.learning import Places, Rankings, find_places, named_file, order_rows, read_rows, render_table
from memsifter.command import command
from memsifter.corpus.sessions import SPLITS, Split
from memsifter.corpus.store import load_dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.combine import read_weights, weighted_sum
from memsifter.fusion.fit import default_weights
from memsifter.fusion.likelihood import LIKELIHOOD, add_likelihoods
from memsifter.io.files import read_parquet
from memsifter.io.paths import scores_file
from memsifter.params import RetrievalParams, load_params
from memsifter.retrieval.score_lists import ScoreLists

_CUTOFFS = (1, 5, 10)
_ALONE, _DEFAULT, _FITTED = "alone", "default weights", "fitted weights"
Weights = Mapping[str, float]


def main() -> None:
    """Read the files and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a processed dataset, such as data/processed/sample")
    parser.add_argument(
        "likelihoods",
        nargs="+",
        type=named_file,
        metavar="NAME=FILE",
        help="data/likelihoods/… of two or more models; the others are compared with the first",
    )
    parser.add_argument("--scores", type=Path, help="of stage score (default: data/scores/… by the folder's name)")
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        type=named_file,
        metavar="NAME=FILE",
        help="data/fusion/weights.json that was fitted with the likelihood of that name",
    )
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=["test"], help="of which questions")
    options = parser.parse_args()
    with command():
        scores = options.scores or scores_file(options.folder.resolve().name)
        retrieval = load_params().retrieval
        print(compare(options.folder, options.likelihoods, scores, options.weights, options.splits, retrieval))


def compare(
    folder: Path,
    likelihoods: Sequence[tuple[str, Path]],
    scores: Path,
    weights: Sequence[tuple[str, Path]],
    splits: Collection[Split],
    params: RetrievalParams,
) -> str:
    """The table, with the number of questions above it.

    Args:
        folder: a processed dataset.
        likelihoods: name and file of each likelihood, at least two.
        scores: the coarse scores of the dataset.
        weights: for some of the likelihoods, a file with the weights that were fitted with it.
        splits: which questions count.
        params: the scores that are summed and their default weights.

    Raises:
        MemSifterError: a file is missing, broken or of another dataset, the likelihoods are of different questions, a
            name stands twice or is no likelihood's, or no question has gold sessions.
    """
    files, fitted = _by_name(likelihoods), _by_name(weights)
    if len(files) < 2:
        raise MemSifterError(f"{', '.join(files)} alone cannot be compared; give the NAME=FILE of another likelihood")
    if unknown := sorted(set(fitted) - set(files)):
        raise MemSifterError(f"--weights: {unknown[0]!r} is none of the likelihoods, which are {', '.join(files)}")
    _require_same_questions(list(files.values()))
    sums = {name: {_DEFAULT: default_weights(params, likelihood=True)} for name in files}
    for name, file in fitted.items():
        sums[name][_FITTED] = dict(read_weights(file, "fitted_likelihood").weights)

    places, gold = find_places(load_dataset(folder, splits))
    summed = dict.fromkeys(score for ways in sums.values() for way in ways.values() for score in way)
    lists = _read_scores(scores, [score for score in summed if score != LIKELIHOOD], places, folder)
    orders = {name: _order(add_likelihoods(lists, file), sums[name]) for name, file in files.items()}

    first = next(iter(files))
    found: dict[str, Rankings] = {}
    references: dict[str, Rankings] = {}
    for way in (_ALONE, _DEFAULT, _FITTED):
        ordered = {name: orders[name][way] for name in files if way in orders[name]}
        found |= {f"{name}, {way}": rankings for name, rankings in ordered.items()}
        if first in ordered:  # without weights of its own it is nothing to compare fitted ones with
            references |= {f"{name}, {way}": ordered[first] for name in ordered if name != first}
    return f"{len(gold)} questions\n\n{render_table(gold, found, references, first, _CUTOFFS)}"


def _by_name(named: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    files = dict(named)
    if len(files) < len(named):
        names = [name for name, _ in named]
        raise MemSifterError(f"{next(name for name in names if names.count(name) > 1)!r} names two files; rename one")
    return files


def _require_same_questions(files: Sequence[Path]) -> None:
    """Refuse likelihoods of different questions: one of them is not of the dataset, or of an older state of it."""
    first, *others = files
    expected = set(read_parquet(first, ["question_id"])["question_id"].to_pylist())
    for file in others:
        if odd := expected ^ set(read_parquet(file, ["question_id"])["question_id"].to_pylist()):
            raise MemSifterError(
                f"{file}: its questions are not those of {first}: {min(odd)!r} stands in one of them alone; give "
                "likelihoods of the same dataset"
            )


def _read_scores(path: Path, names: Sequence[str], places: Places, folder: Path) -> ScoreLists:
    """The scores of these names, of the questions in `places` and in their order."""
    lists = ScoreLists.read(path, names)
    lists.require_finite(str(path), "repeat score")
    rows = {name: row for row, name in enumerate(lists.question_ids)}
    lengths = np.diff(lists.offsets)
    for question, sessions in places.items():
        if question not in rows or lengths[rows[question]] != len(sessions):
            raise MemSifterError(
                f"{path}: question {question!r} of {folder} lacks its {len(sessions)} scores; give the scores of this "
                "dataset, or repeat score"
            )
    return lists.select(np.asarray([rows[question] for question in places], dtype=np.int64))


def _order(lists: ScoreLists, sums: Mapping[str, Weights]) -> dict[str, Rankings]:
    """The rankings of all questions of `lists`, by what orders them: `alone`, and each of the sums."""
    likelihoods = lists.columns[LIKELIHOOD]
    columns = {way: weighted_sum(lists, weights) for way, weights in sums.items()}
    columns[_ALONE] = np.where(np.isnan(likelihoods), -np.inf, likelihoods)
    # By way of the table that stage order writes: in its float32, so that equal scores are equal here as well.
    rows = read_rows(ScoreLists(lists.question_ids, lists.offsets, columns).to_table())
    orders = {way: order_rows(rows, way, rows) for way in columns}
    orders[_ALONE] = {
        question: [place for place in ranking if rows[question][_ALONE][place] > -np.inf]
        for question, ranking in orders[_ALONE].items()
    }
    return orders


if __name__ == "__main__":
    main()
