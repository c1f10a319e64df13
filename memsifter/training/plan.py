"""Does a training round fit the memory that there is? Told before it starts, with what to lower."""

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from memsifter.chat.endpoint import LOCAL
from memsifter.errors import MemSifterError
from memsifter.io.paths import model_directory
from memsifter.params import Params
from memsifter.training.memory import GIB, ModelShape, Part, Phase, list_parts, one_response_bytes, read_shape

logger = logging.getLogger(__name__)

GPU_GIB = 79.0  # an A100 or H100 of 80 GB, where the GPUs cannot be asked
_WHEN: dict[Phase, str] = {
    "update": "while weights are updated",
    "generate": "while responses are generated",
    "warm start": "in the warm start",
}
_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class MemoryPlan:
    """What one GPU, or the machine on a CPU, has to hold.

    Attributes:
        parts: the uses.
        available: bytes that there are.
        where: "each GPU" or "this machine".
        shortage: what is too small whatever else there is; empty if nothing is.
    """

    parts: tuple[Part, ...]
    available: float
    where: str
    shortage: str = ""

    def needed(self, phase: Phase) -> float:
        """Bytes at the same time."""
        return sum(part.bytes for part in self.parts if phase in part.phases)

    def problem(self) -> str | None:
        """One line that says what does not fit and what to change; None if everything does."""
        phase = max(_WHEN, key=self.needed)
        if self.needed(phase) <= self.available:
            return self.shortage or None
        largest = sorted((part for part in self.parts if phase in part.phases), key=lambda part: -part.bytes)[:2]
        advice = "; ".join(f"{part.name} {part.bytes / GIB:.1f} GiB: {part.remedy}" for part in largest)
        return (
            f"training needs {self.needed(phase) / GIB:.1f} GiB on {self.where} {_WHEN[phase]}, and there are "
            f"{self.available / GIB:.1f} ({advice}); `memsifter plan` shows all of it"
        )

    def table(self) -> list[Mapping[str, str]]:
        """Rows: part, GiB in each phase that the round has, formula; the sum comes last."""
        phases = [phase for phase in _WHEN if self.needed(phase)]
        rows: list[Mapping[str, str]] = []
        for part in self.parts:
            cells: dict[str, str] = {
                phase: f"{part.bytes / GIB:.1f}" if phase in part.phases else "" for phase in phases
            }
            rows.append({"part": part.name, **cells, "formula": part.formula})
        sums: dict[str, str] = {phase: f"{self.needed(phase) / GIB:.1f}" for phase in phases}
        return [*rows, {"part": "together", **sums, "formula": f"of {self.available / GIB:.1f} GiB on {self.where}"}]


def plan_memory(
    params: Params, shape: ModelShape, available: float, server: ModelShape | None = None, warm: bool = False
) -> MemoryPlan:
    """The memory of a round.

    Args:
        params: all parameters.
        shape: of the model that is trained.
        available: bytes of each GPU, or on a CPU those that are free.
        server: of the working LLM that is served beside the rollout; None: an endpoint, or none is asked.
        warm: whether a warm start comes first.
    """
    train = params.train
    parts = tuple(list_parts(params, shape, available, server, warm))
    if train.device == "cpu":
        return MemoryPlan(parts, available, "this machine")
    share, one = train.rollout_memory * available, one_response_bytes(params, shape)
    shortage = (
        f"train.rollout_memory {train.rollout_memory:g} gives the rollout {share / GIB:.1f} GiB of each GPU, but its "
        f"weights and one response of the greatest length need {one / GIB:.1f}; raise it or "
        "train.tensor_parallel_size, or lower rank.context_tokens"
    )
    return MemoryPlan(parts, available, "each GPU", shortage if one > share else "")


def available_memory(params: Params) -> float | None:
    """Bytes of the smallest GPU, or on a CPU those that are free; None where the GPUs are not those of this machine."""
    if params.train.device == "cpu":
        return float(psutil.virtual_memory().available)
    program = shutil.which("nvidia-smi")
    if program is None or params.cluster.job_server or params.cluster.remote:
        return None
    query = [program, "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    listing = subprocess.run(query, capture_output=True, text=True, check=False).stdout  # noqa: S603
    return min(visible_memory(listing, os.environ.get("CUDA_VISIBLE_DEVICES")), default=None)


def visible_memory(listing: str, visible: str | None) -> list[float]:
    """Bytes of each GPU that CUDA shows; none where the names are not those of whole GPUs.

    Args:
        listing: of nvidia-smi: lines of index, UUID and MiB.
        visible: CUDA_VISIBLE_DEVICES: indices, or UUIDs that may be cut short. None: all GPUs.
    """
    rows = [tuple(cell.strip() for cell in line.split(",")) for line in listing.splitlines()]
    gpus = [(row[0], row[1], float(row[2]) * _MEBIBYTE) for row in rows if len(row) == 3 and row[2].isdecimal()]
    if visible is None:
        return [size for *_, size in gpus]
    names = [name.strip() for name in visible.split(",")]
    return [
        size
        for index, uuid, size in gpus
        if any(name == index or (name.startswith("GPU-") and uuid.startswith(name)) for name in names)
    ]


def plan_round(params: Params, round_name: str, model: Path | None, available: float | None) -> MemoryPlan:
    """The plan of a round with the models that it names.

    Args:
        params: all parameters.
        round_name: a key of `rounds`.
        model: a directory with the ranker's config.json; None: that of the model which the round starts from.
        available: bytes; None: what this machine has, or `GPU_GIB`.

    Raises:
        MemSifterError: a model is missing.
    """
    this = params.rounds[round_name]
    serves = params.chat.base_url == LOCAL and this.alpha > 0
    server = read_shape(model_directory(params.chat.local_model)) if serves and model is None else None
    shape = read_shape(model or model_directory(this.start_from))
    if serves and server is None:
        server = shape
    bytes_there = available or available_memory(params) or GPU_GIB * GIB
    return plan_memory(params, shape, bytes_there, server, warm=this.warm_start is not None)


def check_memory(params: Params, round_name: str) -> None:
    """Refuse a round that cannot fit the GPUs of this machine; on a CPU, whose free memory changes, warn.

    Where the estimate itself fails, warn and go on: a training may run although its memory cannot be foretold.

    Raises:
        MemSifterError: it cannot fit; names what to lower.
    """
    available = available_memory(params)
    if available is None:
        return
    try:
        problem = plan_round(params, round_name, None, available).problem()
    except Exception as error:  # of transformers, too, whose models raise what they like
        logger.warning("whether %s fits the memory is unknown: %s", round_name, " ".join(str(error).split()))
        return
    if problem and params.train.device == "cuda":
        raise MemSifterError(problem)
    if problem:
        logger.warning("%s", problem)


def show_plan(params: Params, round_name: str | None, model: Path | None, gpu_gib: float | None) -> None:
    """Print the plan of a round as a table.

    Args:
        params: all parameters.
        round_name: a key of `rounds`; None: the first.
        model: as `plan_round` takes it.
        gpu_gib: memory of a GPU, in GiB; None: what this machine has, or `GPU_GIB`.

    Raises:
        MemSifterError: there is no such round, a model is missing, or the round does not fit.
    """
    from tabulate import tabulate

    name = round_name or next(iter(params.rounds), None)
    if name not in params.rounds:
        raise MemSifterError(
            f"params.yaml has no round {name or ''!r} (rounds: {', '.join(params.rounds) or 'none'}); compose a "
            "profile that trains (make params PROFILE=gpu)"
        )
    plan = plan_round(params, name, model, gpu_gib and gpu_gib * GIB)
    rows = plan.table()
    align = ("left", *("right" for _ in rows[0].keys() - {"part", "formula"}), "left")
    print(tabulate(rows, headers="keys", colalign=align, disable_numparse=True))
    if problem := plan.problem():
        raise MemSifterError(problem)
