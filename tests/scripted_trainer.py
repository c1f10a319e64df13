"""Stands in for verl's trainer: reads the same configuration file, writes the same files, and fails on demand.

python scripted_trainer.py <config.yaml> <behaviour>
"""

import json
import sys
import time
from pathlib import Path

import torch
from omegaconf import OmegaConf

config = OmegaConf.load(sys.argv[1])
behaviour = sys.argv[2]
run = Path(config.trainer.default_local_dir)
metrics = Path(config.ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH)
latest = run / "latest_checkpointed_iteration.txt"
generations = Path(config.trainer.validation_data_dir)
generations.mkdir(exist_ok=True)
start = int(latest.read_text()) if latest.is_file() else 0

if behaviour == "out of memory":
    killed = "2 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons"
    print(
        f"\x1b[33m(raylet)\x1b[0m [2026-01-01 00:00:00,000 E 5339 5339] (raylet) node_manager.cc:3517: {killed}",
        flush=True,
    )
if behaviour in ("hang", "out of memory"):
    time.sleep(600)
if behaviour == "crash":
    print("Traceback (most recent call last):\nRuntimeError: the model is too large")
    sys.exit(1)
if behaviour == "failed reward":
    print("\x1b[36m(AgentLoopWorkerTQ pid=7)\x1b[0m ERROR:2026-01-01 00:00:00:Error in _run_prompt for uid=1")
    print("\x1b[36m(AgentLoopWorkerTQ pid=7)\x1b[0m Traceback (most recent call last):")
    print("\x1b[36m(AgentLoopWorkerTQ pid=7)\x1b[0m ray.exceptions.RayTaskError(MemSifterError): ray::Worker.run()")
    print("\x1b[36m(AgentLoopWorkerTQ pid=7)\x1b[0m memsifter.errors.MemSifterError: the endpoint is down")
    print("RuntimeError: 1 question(s) failed in step 1")
    sys.exit(1)
with metrics.open("a") as stream:
    if config.trainer.val_before_train:
        (generations / f"{start}.jsonl").write_text("{}\n")
        print(json.dumps({"step": start, "data": {"val-aux/toy/reward/mean@1": 0.0}}), file=stream, flush=True)
    for step in range(start + 1, config.trainer.total_training_steps + 1):
        actor = run / f"global_step_{step}" / "actor"
        (actor / "huggingface").mkdir(parents=True)
        (actor / "huggingface" / "config.json").write_text("{}")
        for name in ("model_world_size_1_rank_0.pt", "optim_world_size_1_rank_0.pt", "fsdp_config.json"):
            torch.save({name: torch.tensor(step)}, actor / name)
        (actor.parent / "data.pt").write_text("")
        latest.write_text(str(step))
        (generations / f"{step}.jsonl").write_text("{}\n")
        data = {"critic/rewards/mean": step / 10, "val-aux/toy/reward/mean@1": step / 10, "actor/lr": 1e-3}
        print(json.dumps({"step": step, "data": data}), file=stream, flush=True)
        if behaviour == f"die after {step}":
            sys.exit(3)
if behaviour == "die at the end":
    sys.exit(-11)
