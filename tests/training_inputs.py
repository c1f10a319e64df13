"""A training run in miniature: a tiny model, a few rows and a reward that needs no working LLM."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memsifter.models.tiny import write_tiny_model
from memsifter.params import ClusterParams, EngineParams
from memsifter.params.training import TrainParams
from memsifter.training.verl.config import TrainingInputs

ENGINE = EngineParams(
    device="cpu",
    dtype="float32",
    max_model_len=256,
    max_num_seqs=16,
    max_num_batched_tokens=512,
    enforce_eager=True,
    tensor_parallel_size=1,
    gpu_memory_utilization=0.9,
    cpu_kv_cache_gib=1,
)
LOCAL = ClusterParams(address=None, job_server=None, num_cpus=None, num_gpus=None)
TRAIN: dict[str, Any] = {
    "steps": 2,
    "batch_size": 2,
    "mini_batch_size": 2,
    "micro_batch_tokens": 512,
    "rollouts": 4,
    "learning_rate": 1e-3,
    "temperature": 1.0,
    "overlong_tokens": 8,
    "overlong_penalty": 0.5,
    "max_replaced_batches": 8,
    "save_every": 1,
    "test_every": 1,
    "keep_best": 1,
    "device": "cpu",
    "nnodes": 1,
    "gpus_per_node": 1,
    "tensor_parallel_size": 1,
    "reward_workers": 1,
    "stall_minutes": 10.0,
    "overrides": (),
}
REWARD = Path(__file__).parent / "toy_reward.py"


def train_params(**changes: Any) -> TrainParams:
    """Two steps on a CPU."""
    return TrainParams.model_validate(TRAIN | changes)


def write_inputs(directory: Path, train_rows: int = 8, test_rows: int = 4, filler: str = "") -> TrainingInputs:
    """Write the model and the data, and describe them; `filler` makes prompts longer."""
    directory.mkdir(parents=True, exist_ok=True)
    write_tiny_model(directory / "model")
    for name, count in (("train", train_rows), ("test", test_rows)):
        rows = [
            {
                "data_source": "toy",
                "prompt": [{"role": "user", "content": f"{filler}which session says {number}?"}],
                "ability": "rank",
                "reward_model": {"style": "rule", "ground_truth": str(number)},
                "extra_info": {"index": number},
            }
            for number in range(count)
        ]
        pq.write_table(pa.Table.from_pylist(rows), directory / f"{name}.parquet")
    return TrainingInputs(
        model=directory / "model",
        train_files=(directory / "train.parquet",),
        test_file=directory / "test.parquet",
        prompt_tokens=64,
        response_tokens=32,
        reward_settings='{"metric": "toy"}',
        seed=7,
        reward_module=str(REWARD),
    )
