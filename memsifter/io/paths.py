"""Where things live, relative to the repository root."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE_VARIABLE = "MEMSIFTER_CACHE"


def shared_root() -> Path:
    """The root whose caches and MLflow file every run shares.

    `dvc exp run --temp` and the queue run in a copy of the repository below `.dvc/tmp/exps`; vectors, answers and the
    tracking database must not be lost with that copy.
    """
    for parent in ROOT.parents:
        if parent.name == ".dvc":
            return parent.parent
    return ROOT


def cache_directory(name: str) -> Path:
    """A folder of `cache_root()`, made if it is not there."""
    path = cache_root() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def cache_root() -> Path:
    """The cache: keyed by content, never an out, safe to delete at any time.

    The folder that the environment variable MEMSIFTER_CACHE names; else `.cache/memsifter` of the repository; else,
    where the library was installed without its repository, `memsifter` in the user's cache folder ($XDG_CACHE_HOME, by
    default ~/.cache).
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser().absolute()
    if (ROOT / "dvc.yaml").is_file():
        return shared_root() / ".cache" / "memsifter"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "memsifter"


def dataset_directory(dataset: str) -> Path:
    """The processed dataset: sessions, haystacks and questions."""
    return ROOT / "data" / "processed" / dataset


def model_directory(model: str) -> Path:
    """A Hugging Face directory: weights, config and tokenizer."""
    return ROOT / "models" / model


def embeddings_directory(dataset: str) -> Path:
    """The vectors of every distinct session's units and of the questions."""
    return ROOT / "data" / "embeddings" / dataset


def scores_file(dataset: str) -> Path:
    """Each coarse score of every session of every question."""
    return ROOT / "data" / "scores" / f"{dataset}.parquet"


def fusion_weights_file() -> Path:
    """The weights by which coarse scores are summed."""
    return ROOT / "data" / "fusion" / "weights.json"


def fusion_report_directory() -> Path:
    """How the weights were fitted and what they are worth: a page and a plot."""
    return ROOT / "reports" / "fusion"


def likelihoods_file(dataset: str) -> Path:
    """The log-likelihood of every question after an excerpt of each session that was read for it."""
    return ROOT / "data" / "likelihoods" / f"{dataset}.parquet"


def orders_file(dataset: str) -> Path:
    """The scores that order the sessions of every question, of the chosen method and of each method."""
    return ROOT / "data" / "orders" / f"{dataset}.parquet"


def rankings_file(ranker: str, dataset: str) -> Path:
    """What the ranker was shown and what it wrote."""
    return ROOT / "data" / "rankings" / ranker / f"{dataset}.parquet"


def rank_fusion_file(ranker: str, dataset: str) -> Path:
    """How the ranker's scores and the coarse scores became its rankings."""
    return ROOT / "data" / "rankings" / ranker / f"{dataset}.json"


def answers_file(ranker: str, dataset: str) -> Path:
    """What the working LLM answered from the top-ranked sessions."""
    return ROOT / "data" / "answers" / ranker / f"{dataset}.parquet"


def rl_directory(round_name: str) -> Path:
    """A training round's RL data: train shards, test rows, report."""
    return ROOT / "data" / "rl" / round_name


def rl_report_directory(round_name: str) -> Path:
    """A training round's RL data described: a page and a plot."""
    return ROOT / "reports" / "rl" / round_name


def checkpoints_directory(round_name: str) -> Path:
    """A training round's checkpoints as verl writes them: `global_step_<n>/actor`."""
    return ROOT / "models" / "checkpoints" / round_name


def collected_directory(round_name: str) -> Path:
    """A training round's chosen checkpoints as Hugging Face directories: `global_step_<n>`."""
    return ROOT / "models" / "collected" / round_name


def training_report_directory(round_name: str) -> Path:
    """How a training round went: the curve, and what the ranker wrote in validations."""
    return ROOT / "reports" / "training" / round_name


def likelihood_report_directory(name: str) -> Path:
    """How the training of a model for the likelihood score went."""
    return ROOT / "reports" / "likelihood" / name


def results_directory(method: str, dataset: str) -> Path:
    """Metrics and per-question results of a ranker, or of the coarse filter's orders (method `orders`)."""
    return ROOT / "results" / method / dataset
