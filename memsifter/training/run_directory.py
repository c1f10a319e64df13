"""The folder of a training run as verl writes it: checkpoints, metrics by step, validated responses."""

import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, write_json, write_text
from memsifter.io.process import LineTail

Metrics = dict[str, float]
"""Metrics of one step by verl's names, such as `critic/rewards/mean`."""

VALIDATION_FILE = "validation.json"  # beside published checkpoints: validation reward by step
_LATEST = "latest_checkpointed_iteration.txt"  # verl writes it last: what it names is whole
_STEP = "global_step_"
# What collecting a model needs; the optimizer's state does not leave the cache.
_PUBLISHED = ("model_world_size_*_rank_*.pt", "fsdp_config.json", "lora_train_meta.json", "huggingface/**/*")
_LAST_PART = "data.pt"  # of a checkpoint
_RESUME_ONLY = ("actor/optim_*.pt", "actor/extra_state_*.pt", _LAST_PART)
_VALIDATION_REWARD = re.compile(r"val-(?:core|aux)/(.+)/reward/(mean@\d+)")


@dataclass(frozen=True)
class RunDirectory:
    """A training run's folder."""

    path: Path

    @property
    def generations(self) -> Path:
        """What the ranker wrote in each validation, a file per step."""
        return self.path / "generations"

    @property
    def rollouts(self) -> Path:
        """What the ranker was trained on, a file per step."""
        return self.path / "rollouts"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.path / f"{_STEP}{step}"

    def latest_step(self) -> int:
        """The step to resume from; 0 when nothing was saved yet."""
        latest = self.path / _LATEST
        if not latest.is_file():
            return 0
        # verl empties the file, then writes it. The checkpoint that it is about to name has its last part by then.
        text = latest.read_text(encoding="utf-8").strip()
        steps = [int(text)] if text else self._steps(_LAST_PART)
        return max((step for step in steps if self.checkpoint(step).is_dir()), default=0)

    def is_complete(self, steps: int) -> bool:
        """Whether all steps are done, the last one saved and tested."""
        return self.latest_step() >= steps and steps in self.validation_rewards()

    def repair(self) -> None:
        """Write the step to resume from if verl was stopped while it wrote it; verl cannot start without."""
        latest = self.path / _LATEST
        if latest.is_file() and not latest.read_text(encoding="utf-8").strip():
            write_text(latest, str(self.latest_step()))

    def saved_steps(self) -> list[int]:
        """Steps with a whole checkpoint, ascending."""
        latest = self.latest_step()
        return [step for step in self._steps() if step <= latest]

    def _steps(self, part: str = "") -> list[int]:
        """Steps with a checkpoint that has this part, ascending."""
        paths = (path for path in self.path.glob(f"{_STEP}*") if (path / part).exists())
        return sorted(int(path.name.removeprefix(_STEP)) for path in paths)

    def attempt(self, suffix: str, number: int) -> Path:
        """A file of the `number`-th attempt."""
        return self.path / f"attempt_{number}.{suffix}"

    def attempts(self) -> int:
        """How often training was started."""
        return len(list(self.path.glob("attempt_*.yaml")))

    def history(self) -> dict[int, Metrics]:
        """Metrics by step up to the latest checkpoint; a step that was run again has its last values."""
        latest = self.latest_step()
        history: dict[int, Metrics] = {}
        for number in range(1, self.attempts() + 1):
            for step, metrics in MetricsTail(self.attempt("jsonl", number)).read():
                if step <= latest:
                    history.setdefault(step, {}).update(metrics)
        return dict(sorted(history.items()))

    def validation_rewards(self) -> dict[int, float]:
        """Validation reward by step, of the steps that were tested and whose responses are written."""
        rewards = {step: validation_reward(metrics) for step, metrics in self.history().items()}
        return {
            step: reward for step, reward in rewards.items() if reward is not None and _is_whole(self.generations, step)
        }

    def dumped_steps(self) -> list[int]:
        """The training steps whose responses are written, ascending: verl writes them after the checkpoint."""
        return [step for step in self.history() if step and _is_whole(self.rollouts, step)]

    def prune(self, keep_best: int) -> None:
        """Remove all checkpoints but the `keep_best` by validation reward (the later of equals) and the latest.

        Checkpoints without a validation reward stay: their validation may still be running. Of those that stay, only
        the latest keeps what resuming needs.
        """
        rewards, latest = self.validation_rewards(), self.latest_step()
        tested = [step for step in self.saved_steps() if step in rewards]
        best = _best(rewards, tested, keep_best)
        for step in tested:
            if step == latest:
                continue
            if step not in best:
                shutil.rmtree(self.checkpoint(step))
                continue
            for pattern in _RESUME_ONLY:
                for path in self.checkpoint(step).glob(pattern):
                    path.unlink()

    def check_kept(self, keep_best: int, save_every: int) -> None:
        """Refuse to publish fewer checkpoints than `keep_best`.

        Raises:
            MemSifterError: one of the `keep_best` was removed when fewer were to be kept.
        """
        rewards, latest = self.validation_rewards(), self.latest_step()
        once_saved = [step for step in rewards if step and (step % save_every == 0 or step == latest)]
        if missing := sorted(set(_best(rewards, once_saved, keep_best)) - set(self.saved_steps())):
            raise MemSifterError(
                f"{self.path}: the checkpoints of steps {', '.join(map(str, missing))} were removed when "
                "train.keep_best was smaller; set it back, or delete this folder and train again"
            )

    def publish(self, target: Path) -> list[int]:
        """Copy the checkpoints to `target/global_step_<n>/actor`, all or none, without what only resuming needs.

        Equal weights are equal files. Beside them, `validation.json` holds their validation rewards by step.

        Returns:
            The published steps, ascending.

        Raises:
            MemSifterError: there is no checkpoint, or one is broken.
        """
        from memsifter.checkpoints.shards import copy_shard  # torch takes seconds, and only the end needs it

        steps = self.saved_steps()
        if not steps:
            raise MemSifterError(f"{self.path}: no checkpoint to publish; train first (dvc repro)")
        with atomic_directory(target) as temporary:
            for step in steps:
                actor = self.checkpoint(step) / "actor"
                out = temporary / f"{_STEP}{step}" / "actor"
                found = (path for pattern in _PUBLISHED for path in actor.glob(pattern))
                for source in sorted(path for path in found if path.is_file()):
                    copy = out / source.relative_to(actor)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    (copy_shard if source.suffix == ".pt" else shutil.copyfile)(source, copy)
            rewards = self.validation_rewards()
            write_json(temporary / VALIDATION_FILE, {str(step): rewards[step] for step in steps if step in rewards})
        return steps


def _is_whole(folder: Path, step: int) -> bool:
    """Whether verl has written a step's responses: it logs the step's metrics meanwhile."""
    file = folder / f"{step}.jsonl"
    return file.is_file() and file.read_bytes().endswith(b"\n")


def _best(rewards: Mapping[int, float], steps: Iterable[int], count: int) -> list[int]:
    """The steps with the highest rewards; of equal ones the later, as `memsifter.checkpoints.collect` chooses."""
    return sorted(steps, key=lambda step: (-rewards[step], -step))[:count]


class MetricsTail:
    """Reads what verl's `file` logger appends: a JSON line per step, `{"step": 3, "data": {name: value}}`."""

    def __init__(self, path: Path) -> None:
        self._lines = LineTail(path)

    def read(self) -> Iterator[tuple[int, Metrics]]:
        """New steps and their metrics; the file need not exist yet."""
        for line in self._lines.read():
            entry = json.loads(line)
            yield entry["step"], _numbers(entry["data"])


def validation_reward(metrics: Mapping[str, float]) -> float | None:
    """Mean validation reward over datasets, None for a step that was not tested.

    Questions that the working LLM refused have the reward 0 in verl's mean; they are taken out of it.

    Raises:
        MemSifterError: it refused all of them, so that checkpoints cannot be compared.
    """
    tested = {name: match for name in metrics if (match := _VALIDATION_REWARD.fullmatch(name))}
    rewards = []
    for name, match in tested.items():
        left_out = metrics.get(f"val-aux/{match[1]}/left_out/{match[2]}", 0.0)
        rewards += [metrics[name] / (1 - left_out)] if left_out < 1 else []
    if tested and not rewards:
        raise MemSifterError(
            "the working LLM refused every validation question, so that checkpoints cannot be compared; draw others "
            "(rounds.<round>.recipe) or use another working LLM"
        )
    return fmean(rewards) if rewards else None


def _numbers(data: Mapping[str, object]) -> Metrics:
    """Finite numbers only: verl writes null for NaN, and a few entries are not numbers."""
    return {
        name: float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
