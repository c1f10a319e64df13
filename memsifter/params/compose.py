"""Compose `params.yaml` from `configs/`: python -m memsifter.params.compose [profile=gpu] [key=value …].

`dvc exp run` does this by itself; `dvc repro` takes `params.yaml` as it is. Both use DVC's own composition, so the file
is the same either way.
"""

import shutil
import sys

from dvc.utils.hydra import compose_and_dump
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from memsifter.command import command
from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_file
from memsifter.io.paths import ROOT
from memsifter.params import PARAMS_FILE, Params, load_params

RESULTS = ROOT / "results"


def compose(overrides: list[str]) -> Params:
    """Compose, validate and write `params.yaml`; a wrong override leaves the old file as it was.

    Args:
        overrides: Hydra overrides, such as `profile=gpu` or `rank.max_ranked=5`.

    Raises:
        MemSifterError: an override does not fit the configs, or the result is not valid.
    """
    with atomic_file(PARAMS_FILE) as temporary:
        target = temporary.with_suffix(".yaml")
        try:
            compose_and_dump(target, str(ROOT / "configs"), None, "config", "hydra_plugins", overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise MemSifterError(f"cannot compose params.yaml: {' '.join(str(error).split())}") from error
        finally:
            if target.exists():
                target.replace(temporary)
        params = load_params(temporary)
    _remove_old_results(params)
    return params


def _remove_old_results(params: Params) -> None:
    """What rankers and datasets wrote that left the matrix: `summarize` would count it as input. DVC's cache has it."""
    for directory in RESULTS.glob("*/*"):
        method, dataset = directory.parts[-2:]
        if dataset not in params.matrix.datasets or method not in ("coarse", *params.matrix.rankers):
            shutil.rmtree(directory)


if __name__ == "__main__":
    with command():
        params = compose(sys.argv[1:])
        print(
            f"{PARAMS_FILE.name}: profile {params.profile}, datasets {', '.join(params.datasets)}; now run `make repro`"
        )
