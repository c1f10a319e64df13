import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_clone import Clone

# `make test` starts pytest: a `make` that a test starts is a user's own, not a recursive one of that.
for _variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(_variable, None)

# Tests run side by side: threads that wait for each other leave their core to the rest instead of spinning on it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that may take longest: on several workers nothing then waits for them at the end.

    Those marked `pipeline`, whose clones others wait for, come first of all; then files with a slow test, some of which
    run DVC too, in clones of their own; the longest timeout first.
    """
    longest: dict[Path, tuple[bool, bool, float]] = {}
    for item in items:
        timeout = item.get_closest_marker("timeout")
        pipeline, slow = (item.get_closest_marker(name) is not None for name in ("pipeline", "slow"))
        weight = (pipeline, slow, float(timeout.args[0]) if timeout else 0.0)
        longest[item.path] = max(longest.get(item.path, weight), weight)
    items.sort(key=lambda item: longest[item.path], reverse=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark files that the project may not ship; tests that need them skip without them."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("real benchmark data is not on this machine")
    return path


@pytest.fixture(scope="session")
def coarse_source(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> "Clone":
    """A clone in which the stages without an LLM have run. Tests copy it and do not change it."""
    from pipeline_clone import run_coarse_filter

    return _made_once("coarse_source", run_coarse_filter, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def untrained_source(coarse_source: "Clone", tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> "Clone":
    """A clone that went on from there to all stages that need no training. Tests do not change it."""
    from pipeline_clone import run_untrained

    return _made_once("untrained_source", partial(run_untrained, coarse_source), tmp_path_factory, worker_id)


def _made_once(name: str, make: "Callable[[Path], Clone]", factory: pytest.TempPathFactory, worker_id: str) -> "Clone":
    """A clone for the tests of all processes: the first that needs it makes it, and the others wait."""
    from pipeline_clone import Clone

    shared = factory.getbasetemp()
    if worker_id != "master":  # the folder of this process is in the one that all share
        shared = shared.parent
    root, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            make(root)
            done.touch()
    return Clone(root)


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer with random weights."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    directory = tmp_path_factory.mktemp("tiny") / "embedder"
    special = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    words = ["[MASK]", "user", "assistant", ":", "cat", "bike", "my", "the", "momo", "what", "is", "?", "."]
    tokens = [*special.values(), *words]
    BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, **special).save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokens), pad_token_id=1, **sizes)).save_pretrained(directory)
    return directory
