"""How vLLM is configured from `EngineParams`, for the batch engine (rank) and for the server (chat) alike."""

import os
from typing import Any

from memsifter.params import EngineParams


def engine_arguments(engine: EngineParams, seed: int) -> dict[str, Any]:
    """Keyword arguments of vLLM's engine; the server takes the same names as command-line options."""
    arguments: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "enforce_eager": engine.enforce_eager,
        "enable_prefix_caching": True,
        # On a CPU, vLLM cannot rewind the seed of a prompt that it reads in parts.
        "enable_chunked_prefill": engine.device == "cuda",
        "seed": seed,
    }
    if engine.device == "cuda":
        arguments["tensor_parallel_size"] = engine.tensor_parallel_size
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    return arguments


def engine_environment(engine: EngineParams) -> dict[str, str]:
    """Environment variables for the processes that run the engine. Nothing is downloaded or reported at run time."""
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    if engine.device == "cpu":
        cores = sorted(os.sched_getaffinity(0))
        environment |= {
            "VLLM_CPU_KVCACHE_SPACE": str(engine.cpu_kv_cache_gib),
            # vLLM's own choice ("auto") keeps one core for itself, which on two cores halves the speed.
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
            "OMP_NUM_THREADS": str(len(cores)),
        }
    return environment
