"""Where things run: Ray, vLLM, MLflow."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, Section


class ClusterParams(Section):
    """Ray. `address` null starts a local Ray with the given resources (null: all that the machine has).

    `job_server` (`http://head:8265`) takes training as a Ray job; null trains from this machine, on `address`.
    """

    address: Annotated[str, Field(pattern=r"^(auto|local|(ray://)?[^/:]+:\d+)$")] | None
    job_server: Annotated[str, Field(pattern=r"^https?://")] | None
    num_cpus: Count | None
    num_gpus: Annotated[int, Field(ge=0)] | None


class EngineParams(Section):
    """vLLM, as Ray Data's LLM processor runs it (rank) or as an OpenAI-compatible server (chat).

    On a CPU a prompt is read in one batch, so `max_num_batched_tokens` is at least `max_model_len` there.
    """

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16", "float16"]
    max_model_len: Count
    max_num_seqs: Count
    max_num_batched_tokens: Count
    enforce_eager: bool
    tensor_parallel_size: Count
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)]
    cpu_kv_cache_gib: Count

    @model_validator(mode="after")
    def _prompts_fit_a_batch(self) -> "EngineParams":
        if self.device == "cpu" and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least max_model_len "
                f"({self.max_model_len}) on a CPU"
            )
        return self


class TrackingParams(Section):
    """MLflow. `uri` null: a SQLite file at the repository root."""

    uri: str | None
    experiment: str
