"""Where things run: Ray, vLLM, MLflow."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, CountOrZero, HttpUrl, SecretFreeUrl, Section


class ClusterParams(Section):
    """Ray, which runs the embedder, the ranker and the training."""

    address: Annotated[str, Field(pattern=r"^(auto|local|(ray://)?[^/:@?]+:\d+)$")] | None = None
    """A running Ray: `auto`, `10.0.0.1:6379` or `ray://head:10001`. null: a local Ray is started for each stage."""
    job_server: HttpUrl | None = None
    """Ray's job server, such as `http://10.0.0.1:8265`: training is submitted there as a job. null: training runs from
    this machine, on `address`."""
    num_cpus: Count | None = None
    """CPUs of the Ray that is started here. null: all that the machine has."""
    num_gpus: CountOrZero | None = None
    """GPUs of the Ray that is started here. null: all that the machine has."""

    @property
    def remote(self) -> bool:
        """Whether `address` names a Ray that runs already. `local`, as Ray writes it, means the same as null."""
        return self.address not in (None, "local")


class EngineParams(Section):
    """vLLM, as Ray Data's LLM processor runs it (`rank`) or as an OpenAI-compatible server (`chat`)."""

    device: Literal["cpu", "cuda"] = "cpu"
    """What vLLM runs on."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of weights and activations. float32, with one seed per prompt, gives the same texts on every run."""
    max_model_len: Count = 2048
    """The longest sequence, prompt and response together, in tokens."""
    max_num_seqs: Count = 16
    """The most sequences generated at the same time. More: more throughput, more memory."""
    max_num_batched_tokens: Count = 2048
    """The most tokens in one forward pass. On a CPU, where a prompt is read in one pass, at least `max_model_len`."""
    enforce_eager: bool = True
    """Do without CUDA graphs and compilation: a faster start, slower generation."""
    tensor_parallel_size: Count = 1
    """GPUs that one copy of the model is split over."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the GPU's memory that vLLM may take. Of no effect on a CPU."""
    cpu_kv_cache_gib: Annotated[float, Field(gt=0)] = 1.0
    """Memory for keys and values of past tokens on a CPU, in GiB: at least what one sequence of `max_model_len` tokens
    needs. Of no effect on a GPU."""

    @model_validator(mode="after")
    def _prompts_fit_a_batch(self) -> "EngineParams":
        if self.device == "cpu" and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least max_model_len "
                f"({self.max_model_len}) on a CPU"
            )
        return self


class TrackingParams(Section):
    """MLflow, where runs are recorded."""

    uri: SecretFreeUrl | None = None
    """MLflow's tracking server or database. null: MLFLOW_TRACKING_URI, else `mlflow.db` at the repository root. A URI
    with a password belongs into MLFLOW_TRACKING_URI."""
    experiment: Annotated[str, Field(min_length=1)] = "memsifter"
    """Name of the MLflow experiment that holds the runs."""
