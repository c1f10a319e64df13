"""What verl's SFT trainer gets for a warm start: gold rankings as examples, and its configuration.

The examples come from the round's RL data; the configuration is `configs/verl/sft.yaml`, filled in from the parameters.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_file, parquet_writer
from memsifter.params.data import Kind
from memsifter.params.training import TrainParams, WarmStartParams
from memsifter.training.verl.attention import micro_batch_tokens, model_values, packs_sequences
from memsifter.training.verl.schema import CONFIGS, compose_own, compose_schema, unknown_keys

SCHEMA = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])
_COLUMNS = ["prompt", *(f"extra_info.{name}" for name in ("dataset", "kind", "question_id", "coarse_order", "gold"))]
_ROWS_PER_GROUP = 32  # long prompts: no more than these are held at once


def format_gold(coarse_order: Sequence[int], gold: Sequence[int], first_number: int, opened_thought: str = "") -> str:
    """The output that names the gold candidates, in coarse order, with nothing thought.

    Args:
        coarse_order: (n,) candidates, 0-based, from best to worst by the coarse filter.
        gold: those that hold the evidence, in any order.
        first_number: the number of candidate 0 in the prompt.
        opened_thought: what the chat template has already written of the output, which is left out.
    """
    relevant = set(gold)
    numbers = (str(first_number + candidate) for candidate in coarse_order if candidate in relevant)
    thought = "" if "</think>" in opened_thought else "</think>" if opened_thought else "<think></think>"
    return f"{thought}<ranking>{','.join(numbers)}</ranking>"


def write_gold_rankings(
    train_files: Sequence[Path], first_number: Mapping[Kind, int], limit: int, out: Path, opened_thought: str = ""
) -> int:
    """Write the first `limit` train rows as examples: prompt, and gold ranking as the assistant's message.

    The order of the files and of their rows is kept. The files are streamed.

    Args:
        train_files: Parquet files of RL data.
        first_number: the number of the first candidate in the ranker's prompt, by the dataset's kind.
        limit: the most examples.
        out: Parquet file with one column, `messages`; replaced whole.
        opened_thought: as in `format_gold`.

    Returns:
        How many examples were written.

    Raises:
        MemSifterError: a file is missing, broken or has other columns, or a row has no gold candidate.
    """
    written = 0
    with atomic_file(out) as temporary, parquet_writer(temporary, SCHEMA) as writer:
        for batch in _read_batches(train_files):
            examples = [_build_example(row, first_number, opened_thought) for row in batch[: limit - written]]
            writer.write_table(pa.Table.from_pylist(examples, schema=SCHEMA))
            written += len(examples)
            if written == limit:
                break
    return written


def _read_batches(files: Sequence[Path]) -> Iterator[list[dict[str, Any]]]:
    for path in files:
        if not path.is_file():
            raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro prepare_rl)")
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP, columns=_COLUMNS):
                    yield batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise MemSifterError(f"{path}: not a readable Parquet file ({error})") from error


def _build_example(row: Mapping[str, Any], first_number: Mapping[Kind, int], opened_thought: str) -> dict[str, Any]:
    info = row.get("extra_info") or {}
    names = [column.removeprefix("extra_info.") for column in _COLUMNS]
    if missing := [name for name in names if (row if name == "prompt" else info).get(name) is None]:
        raise MemSifterError(f"a row lacks {', '.join(missing)}; write the RL data anew (dvc repro prepare_rl)")
    if not set(info["gold"]) & set(info["coarse_order"]):
        raise MemSifterError(
            f"question {info['question_id']!r} of {info['dataset']} has no gold session among its candidates, so there "
            "is nothing to learn from it; write the RL data anew (dvc repro prepare_rl)"
        )
    answer = format_gold(info["coarse_order"], info["gold"], first_number[info["kind"]], opened_thought)
    return {"messages": [*row["prompt"], {"role": "assistant", "content": answer}]}


@dataclass(frozen=True)
class Examples:
    """What a warm start trains on.

    Attributes:
        file: Parquet file with a column `messages`.
        count: its rows.
        max_tokens: the longest prompt with its response.
    """

    file: Path
    count: int
    max_tokens: int


def compose_sft_config(
    model: Path, examples: Examples, warm_start: WarmStartParams, train: TrainParams, seed: int, directory: Path
) -> DictConfig:
    """Compose and check the configuration of `verl.trainer.sft_trainer`.

    Args:
        model: Hugging Face directory to start from.
        examples: what to train on.
        warm_start: steps, batch size and learning rate.
        train: device, processes of one machine, and the most tokens of one forward pass.
        seed: of torch; the order of the examples is always the same.
        directory: where the checkpoint goes.

    Raises:
        MemSifterError: a batch cannot be filled or cannot be shared among the processes, or `configs/verl/sft.yaml`
            holds a key that verl does not know.
    """
    if train.gpus_per_node % train.ulysses or warm_start.batch_size % (train.gpus_per_node // train.ulysses):
        raise MemSifterError(
            f"warm_start.batch_size ({warm_start.batch_size}) must be a multiple of train.gpus_per_node / "
            f"train.ulysses ({train.gpus_per_node} / {train.ulysses})"
        )
    if examples.count < warm_start.batch_size:
        raise MemSifterError(
            f"warm_start.batch_size is {warm_start.batch_size}, but the round has {examples.count} train questions; "
            "lower it"
        )
    schema = compose_schema("sft_trainer_engine")
    config = compose_own("sft", [f"sft_hardware={train.device}"])
    config = OmegaConf.merge(config, _values(model, examples, warm_start, train, seed, directory))  # type: ignore[assignment]
    plain, known = (OmegaConf.to_container(tree, resolve=False) for tree in (config, schema))
    if unknown := list(unknown_keys(plain, known)):
        raise MemSifterError(f"{CONFIGS / 'sft.yaml'}: verl has no such key: {', '.join(unknown)}")
    OmegaConf.resolve(config)
    return config


def _values(
    model: Path, examples: Examples, warm_start: WarmStartParams, train: TrainParams, seed: int, directory: Path
) -> dict[str, Any]:
    return {
        "model": {"path": str(model), **model_values(train)},
        "data": {
            "train_files": [str(examples.file)],
            "train_batch_size": warm_start.batch_size,
            "max_length": examples.max_tokens,
            "use_dynamic_bsz": packs_sequences(train),
            "micro_batch_size_per_gpu": 1,  # where sequences are not packed
            "max_token_len_per_gpu": micro_batch_tokens(train, examples.max_tokens),
        },
        "engine": {"seed": seed, "ulysses_sequence_parallel_size": train.ulysses},
        "optim": {"lr": warm_start.learning_rate},
        "trainer": {
            "total_training_steps": warm_start.steps,
            "total_epochs": math.ceil(warm_start.steps / (examples.count // warm_start.batch_size)),
            "nnodes": 1,
            "n_gpus_per_node": train.gpus_per_node,
            "default_local_dir": str(directory),
        },
    }
