"""What LLMs run on: starting or joining Ray, and vLLM's settings for its batch engine and its server alike."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import ClusterParams, EngineParams

logger = logging.getLogger(__name__)

RAY_ADDRESS = "RAY_ADDRESS"  # Ray's own commands take the cluster's address from this variable
_KV_CACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"  # in whole GiB; vLLM takes it before its own argument
_SLOW_START = (ConnectionError, TimeoutError, RuntimeError)
_RAY_LOGS = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "session_latest" / "logs"


def start_ray(cluster: ClusterParams) -> None:
    """Connect to `cluster.address`, or start a local Ray with the given resources. Does nothing when already connected.

    Workers import `memsifter` from this checkout, whatever folder they start in.

    Raises:
        MemSifterError: the cluster at `address` cannot be reached, or a local Ray does not start in time.
    """
    # Read once when Ray is imported: nothing is reported to the network, and Ray starts worker processes with this
    # interpreter rather than asking a package manager for a new environment.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    # Ray's core reports as errors what only its developers can use; all of it stays in the logs of its session.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():
        return
    heed_variables(cluster)
    _quiet_ray_data()
    environment = {"env_vars": {"PYTHONPATH": python_path()}}
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "runtime_env": environment}
    if cluster.remote:
        options |= {"address": cluster.address}
    else:
        options |= {"address": "local", "include_dashboard": False}
        options |= {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus}
    try:
        ray.init(**options)
    except Exception as error:
        # Ray tells a slow start by errors of no class of their own; others, such as ValueError, are bugs.
        if cluster.remote and isinstance(error, ConnectionError):
            raise MemSifterError(f"cluster.address: no Ray cluster answers at {cluster.address} ({error})") from error
        if cluster.remote or not (isinstance(error, _SLOW_START) or type(error) is Exception):
            raise
        raise MemSifterError(
            f"Ray did not start on this machine in time ({str(error).partition(': ')[0].partition('. ')[0]}); end what "
            f"else keeps its cores and memory busy, then run the same command again; Ray's logs are in {_RAY_LOGS}"
        ) from error


def python_path() -> str:
    """PYTHONPATH of worker processes: this checkout, and what this process was given."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def heed_variables(cluster: ClusterParams) -> None:
    """Say what becomes of the variables with which Ray is often told where to run.

    `cluster.address: auto` uses RAY_ADDRESS; otherwise `cluster` decides. CUDA_VISIBLE_DEVICES chooses among the GPUs
    of this machine: a Ray that is started here has those, a cluster has its own.

    Raises:
        MemSifterError: RAY_ADDRESS holds the address of a job server.
    """
    address = os.environ.get(RAY_ADDRESS, "")
    remote = cluster.job_server or cluster.remote
    if address and cluster.address == "auto" and address.startswith("http"):
        raise MemSifterError(
            f"cluster.address is auto, so that RAY_ADDRESS is used, but that is a job server ({address}); give it as "
            "cluster.job_server, or the address of the cluster (10.0.0.1:6379) as RAY_ADDRESS"
        )
    if address and not remote:
        logger.warning(
            "RAY_ADDRESS=%s is not used: cluster.address is null, so that a Ray of its own is started; set "
            "cluster.address=auto to use it",
            address,
        )
    if remote and os.environ.get("CUDA_VISIBLE_DEVICES"):
        logger.warning("CUDA_VISIBLE_DEVICES of this machine does not choose among the GPUs of the cluster")


def require_resources(cluster: ClusterParams, key: str, cpus: float, gpus: float) -> None:
    """Refuse what a local Ray does not have: it would wait for it for ever, and silently. A cluster may grow on demand.

    Args:
        cluster: which Ray.
        key: the parameter that asks for the resources.
        cpus: cores needed at the same time.
        gpus: GPUs needed at the same time.

    Raises:
        MemSifterError: names the key, what it needs and what there is.
    """
    import ray

    if cluster.remote:
        return
    available = ray.cluster_resources()
    for name, needed in (("CPU", cpus), ("GPU", gpus)):
        if needed > available.get(name, 0):
            raise MemSifterError(
                f"{key}: needs {needed:g} {name}s at once, Ray has {available.get(name, 0):g}; lower it or raise "
                f"cluster.num_{name.lower()}s"
            )


def _quiet_ray_data() -> None:
    """One progress bar, ours, and no plan of execution on the terminal: Ray Data's own log file has it all."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # would warn that the bars are off
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.WARNING)


def engine_arguments(engine: EngineParams, seed: int, max_logprobs: int = 0) -> dict[str, Any]:
    """Keyword arguments of vLLM's engine; the server takes the same names as command-line options.

    Args:
        engine: the parameters.
        seed: of prompts without one of their own.
        max_logprobs: the most tokens whose log-probabilities a prompt may ask for; 0 if none does.
    """
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
    if max_logprobs:
        arguments["max_logprobs"] = max_logprobs
    if engine.device == "cuda":
        arguments["tensor_parallel_size"] = engine.tensor_parallel_size
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    else:
        arguments["distributed_executor_backend"] = "uni"  # the model runs in the engine's own process
        arguments["kv_cache_memory_bytes"] = cpu_kv_cache_bytes(engine)
    return arguments


def cpu_kv_cache_bytes(engine: EngineParams) -> int:
    """What vLLM reserves for keys and values on a CPU, in bytes. Its own variable goes before the parameter.

    Raises:
        MemSifterError: the variable is not a whole number.
    """
    gib = engine.cpu_kv_cache_gib
    if space := os.environ.get(_KV_CACHE_VARIABLE):
        if not space.isdecimal():
            raise MemSifterError(f"{_KV_CACHE_VARIABLE}={space}: vLLM takes whole GiB there; unset it")
        logger.warning("%s=%s is used, and not engine.cpu_kv_cache_gib", _KV_CACHE_VARIABLE, space)
        gib = int(space)
    return int(gib * (1 << 30))


def engine_environment(engine: EngineParams) -> dict[str, str]:
    """Environment variables for the processes that run the engine. Nothing is downloaded or reported at run time."""
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        # vLLM's default on recent GPUs, which it compiles at its start by nvcc, and fails without one.
        "VLLM_USE_FLASHINFER_SAMPLER": os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0"),
    }
    if engine.device == "cpu":
        cores = sorted(os.sched_getaffinity(0))
        environment |= {
            # vLLM's own choice ("auto") keeps one core for itself, which on two cores halves the speed.
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
            "OMP_NUM_THREADS": str(len(cores)),
            # With it, vLLM's CPU engine starts one more process for the model, which imports everything once more.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
    return environment
