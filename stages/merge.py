"""Average a round's collected checkpoints into one ranker: python -m stages.merge <round>."""

from memsifter.params import Params
from memsifter.paths import collected_directory, model_directory
from memsifter.stage import run_stage
from memsifter.training.collect import step_directories
from memsifter.training.merge import merge_checkpoints


def main(params: Params, round_name: str) -> dict[str, float]:
    """Write `models/<round>/`, a Hugging Face directory."""
    checkpoints = step_directories(collected_directory(round_name))
    merge_checkpoints(checkpoints, model_directory(round_name), params.merge.dtype, params.merge.weights)
    return {"checkpoints": len(checkpoints)}


if __name__ == "__main__":
    run_stage(main)
