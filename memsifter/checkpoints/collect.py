"""Choose training checkpoints and turn them into Hugging Face directories."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, read_json
from memsifter.models.check import check_model

logger = logging.getLogger(__name__)

_STEP = re.compile(r"global_step_(\d+)")


def find_steps(checkpoints: Path) -> list[int]:
    """Steps in ascending order whose model was saved below `checkpoints` (`global_step_N/actor`).

    A step without an `actor` is skipped: verl leaves the data loader's state behind when it removes old checkpoints.

    Raises:
        MemSifterError: there is none.
    """
    steps = [step for step, path in _numbered(checkpoints) if (path / "actor" / "fsdp_config.json").is_file()]
    if not steps:
        raise MemSifterError(f"{checkpoints}: holds no checkpoint (global_step_N/actor); run the train stage")
    return steps


def step_directories(collected: Path) -> list[Path]:
    """The directories that `collect_checkpoints` wrote, by ascending step.

    Raises:
        MemSifterError: there is none.
    """
    directories = [path for _, path in _numbered(collected)]
    if not directories:
        raise MemSifterError(f"{collected}: holds no collected checkpoint (global_step_N); run the collect stage")
    return directories


def select_steps(
    available: Sequence[int],
    steps: Sequence[int] | None = None,
    best: int | None = None,
    scores: Mapping[int, float] | None = None,
) -> list[int]:
    """The steps to collect, ascending: those listed, or the `best` best, or else the last.

    Args:
        available: steps that have a checkpoint.
        steps: an explicit choice.
        best: how many of the best, by `scores`; of equal ones the later is better. Steps that were not validated or
            whose checkpoint is gone do not compete.
        scores: validation score by step, higher is better.

    Raises:
        MemSifterError: both choices are given, a step is listed twice or has no checkpoint, fewer than `best`
            checkpoints have a score, or a score is not a finite number.
    """
    if steps is not None and best is not None:
        raise MemSifterError("give the steps to collect or how many of the best, not both")
    have = f"there are checkpoints of steps {', '.join(map(str, sorted(available))) or 'none'}"
    if steps is not None:
        if absent := [step for step in steps if step not in available]:
            raise MemSifterError(f"no checkpoint of step {absent[0]}; {have}")
        if not steps or len(set(steps)) < len(steps):
            raise MemSifterError(f"steps {list(steps)}: list at least one, and none twice; {have}")
        return sorted(steps)
    if best is not None:
        return _select_best(available, best, scores or {}, have)
    if not available:
        raise MemSifterError("no checkpoint to collect; run the train stage")
    return [max(available)]


def collect_checkpoints(checkpoints: Path, steps: Sequence[int], out: Path) -> None:
    """Write `out/global_step_N/`, a Hugging Face directory, for each step; all of them or nothing.

    The weights keep the type they were trained in. Equal checkpoints give equal bytes.

    Args:
        checkpoints: the run's directory with verl's `global_step_N/actor`, sharded by FSDP over any number of ranks.
        steps: see `select_steps`.
        out: the directory to write; one that exists is replaced.

    Raises:
        MemSifterError: a checkpoint is missing, incomplete, broken, holds more than tensors, trained an adapter only,
            or needs code of its own.
    """
    actors = {f"global_step_{step}": checkpoints / f"global_step_{step}" / "actor" for step in steps}
    for actor in actors.values():
        _check_actor(actor)
    # Imported here: verl takes many seconds to load, and choosing steps does not need it.
    from memsifter.checkpoints.fsdp import merge_shards

    with atomic_directory(out) as temporary:
        for name, actor in actors.items():
            logger.info("collecting %s", actor)
            target = temporary / name
            target.mkdir()
            merge_shards(actor, target)
            check_model(target)


def _numbered(directory: Path) -> list[tuple[int, Path]]:
    """Each `global_step_N` below a directory with its N, by number and not by name."""
    matches = [(_STEP.fullmatch(path.name), path) for path in directory.glob("global_step_*")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _select_best(available: Sequence[int], best: int, scores: Mapping[int, float], have: str) -> list[int]:
    scored = {step: scores[step] for step in available if step in scores}
    if unusable := [step for step, score in scored.items() if not math.isfinite(score)]:
        raise MemSifterError(f"the validation score of step {unusable[0]} is {scored[unusable[0]]}; list steps instead")
    if not 1 <= best <= len(scored):
        validated = ", ".join(map(str, sorted(scored))) or "none"
        raise MemSifterError(f"cannot collect the {best} best steps; {have}, of which validated: {validated}")
    return sorted(sorted(scored, key=lambda step: (scored[step], step))[-best:])


def _check_actor(actor: Path) -> None:
    sharding = actor / "fsdp_config.json"
    if not sharding.is_file():
        raise MemSifterError(f"{sharding}: no such file; the checkpoint is missing or incomplete")
    if not isinstance(read_json(sharding).get("world_size"), int):
        raise MemSifterError(f"{sharding}: names no world_size; verl did not finish this checkpoint")
    if (actor / "lora_train_meta.json").is_file():
        raise MemSifterError(
            f"{actor}: a LoRA adapter was trained; train all weights, or merge the adapter into them first"
        )
    config = actor / "huggingface" / "config.json"
    if not config.is_file():
        raise MemSifterError(f"{config}: no such file; the checkpoint is incomplete")
