"""Environment variables of verl's processes."""

import os
from pathlib import Path

from memsifter.params import EngineParams
from memsifter.params.train import TrainParams
from memsifter.paths import ROOT
from memsifter.vllm_settings import engine_environment


def training_environment(train: TrainParams, engine: EngineParams, metrics: Path) -> dict[str, str]:
    """What the trainer and all its workers must see, on every machine.

    Args:
        train: For the device.
        engine: vLLM's settings.
        metrics: The file that verl's `file` logger writes.
    """
    environment = engine_environment(engine) | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",  # the log is read while it is written
        "RAY_USAGE_STATS_ENABLED": "0",
        "VERL_FILE_LOGGER_PATH": str(metrics),
    }
    if train.device == "cpu":
        environment |= {
            "VERL_PLATFORM": "cpu",
            "VERL_USE_EXTERNAL_MODULES": "memsifter.training.cpu_platform",
            # The trainer and vLLM take turns on the same cores; neither may be bound to some of them.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # With it, vLLM's CPU engine insists on one more process for the model itself.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            # Compiling costs minutes, which a run of minutes does not earn back.
            "TORCH_COMPILE_DISABLE": "1",
        }
    return environment
