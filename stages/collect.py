"""Turn chosen checkpoints of a training round into Hugging Face directories: python -m stages.collect <round>."""

import logging

from memsifter.checkpoints.collect import collect_checkpoints, find_steps, select_steps
from memsifter.command import run_stage
from memsifter.io.files import read_json
from memsifter.io.paths import checkpoints_directory, collected_directory
from memsifter.params import Params
from memsifter.training.run_directory import VALIDATION_FILE

logger = logging.getLogger(__name__)


def main(params: Params, round_name: str) -> dict[str, float]:
    """Write `models/collected/<round>/global_step_<n>/` for each chosen step."""
    checkpoints = checkpoints_directory(round_name)
    rewards = {int(step): reward for step, reward in read_json(checkpoints / VALIDATION_FILE).items()}
    steps = select_steps(find_steps(checkpoints), params.collect.steps, params.collect.best, rewards)
    collect_checkpoints(checkpoints, steps, collected_directory(round_name))
    logger.info("collected the checkpoints of steps %s", ", ".join(map(str, steps)))
    return {"checkpoints": len(steps)}


if __name__ == "__main__":
    run_stage(main)
