"""Registers vLLM's CPU engine with verl when imported.

verl imports this module through `actor_rollout_ref.model.external_lib`, just where it sets up models and rollouts.
"""

from typing import Any

from verl.workers.rollout.replica import RolloutReplicaRegistry


def load_replica() -> type[Any]:
    """The replica's class; called when the rollout starts, since importing vLLM takes seconds."""
    from memsifter.training.verl.cpu_platform.rollout import CpuReplica

    return CpuReplica


# The rollout stays verl's own `vllm`; only the worker extension inside vLLM differs.
RolloutReplicaRegistry.register("vllm", load_replica)
