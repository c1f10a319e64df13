"""Registers vLLM's CPU engine with verl when imported.

verl imports this module by name (`actor_rollout_ref.model.external_lib`) in the processes that set up models and
rollouts. It must not import vLLM, which takes seconds: only the rollout's own process needs it.
"""

from typing import Any

from verl.workers.rollout.replica import RolloutReplicaRegistry


def load_replica() -> type[Any]:
    """The replica's class; verl calls this when the rollout starts."""
    from memsifter.training.verl.cpu_platform.rollout import CpuReplica

    return CpuReplica


# The rollout stays verl's own `vllm`; only the worker extension inside vLLM differs.
RolloutReplicaRegistry.register("vllm", load_replica)
