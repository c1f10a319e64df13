"""vLLM's CPU engine as verl's own "vllm" rollout."""

from typing import Any

import ray
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica
from vllm.model_executor.layers import utils as layers

from memsifter.training.verl.cpu_platform.seeds import SeedSequence


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """Runs inside vLLM's worker, where verl loads new weights after each step."""

    def __new__(cls, **kwargs: Any) -> "CpuWorkerExtension":
        """Keep the weights that later steps are loaded into, then set up as verl does."""
        keep_weights()
        extension: CpuWorkerExtension = super().__new__(cls, **kwargs)  # type: ignore[no-untyped-call]
        return extension


class CpuServer(vLLMHttpServer):
    """verl's vLLM server with that worker extension, and with a seed for each response.

    In float32 a response is then decided by its seed and the weights alone, not by what is generated beside it. Of
    several servers, each has seeds of its own; which one gets a prompt, verl's router decides by their load.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seeds = SeedSequence(self.config.seed + self.replica_rank)

    async def generate(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str, *args: Any, **kwargs: Any
    ) -> Any:
        """As verl; the n-th response that is sampled for a prompt in a step has the n-th seed."""
        if sampling_params["temperature"] > 0:
            sampling_params = {**sampling_params, "seed": self._seeds.next(self.global_steps or 0, prompt_ids)}
        return await super().generate(prompt_ids, sampling_params, request_id, *args, **kwargs)

    def _get_worker_extension_cls(self) -> str:
        return f"{CpuWorkerExtension.__module__}.{CpuWorkerExtension.__qualname__}"


class CpuReplica(vLLMReplica):
    """verl's vLLM replica with that server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(CpuServer)


def keep_weights() -> None:
    """Stop vLLM from throwing a layer's weight away once it is packed for the CPU's matrix product.

    verl writes the next step's weights into `layer.weight`, which would be empty; it then calls
    `process_weights_after_loading`, which packs them anew.
    """
    original = layers.dispatch_cpu_unquantized_gemm
    if getattr(original, "keeps_weight", False):
        return

    def dispatch(layer: Any, remove_weight: bool) -> None:  # noqa: ARG001 - vLLM's signature
        original(layer, remove_weight=False)

    dispatch.keeps_weight = True  # type: ignore[attr-defined]
    layers.dispatch_cpu_unquantized_gemm = dispatch
