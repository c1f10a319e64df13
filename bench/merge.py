"""Peak memory of merging k checkpoints: python -m bench.merge [--checkpoints K].

Two children do the same merge of made-up models: one with `merge_checkpoints`, one that loads all models as a short
script would. A third one merges tiny models, so its peak is what Python, the libraries and their first use take; the
table counts what lies above it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models  # type: ignore[import-untyped]
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from memsifter.checkpoints.merge import merge_checkpoints

_MIB = 1 << 20


def main() -> None:
    """Make the models, run the children and print a table; exit 1 if the merge needs more than it promises."""
    arguments = _read_arguments()
    if arguments.child:
        _run_child(arguments.child, arguments.paths, arguments.shard_mib * _MIB)
        return
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as directory:
        tiny = _make_models(Path(directory, "tiny"), arguments.checkpoints, 8, 1, 64)
        large = _make_models(
            Path(directory, "large"), arguments.checkpoints, arguments.hidden, arguments.layers, arguments.vocabulary
        )
        idle, _ = _measure("merge", tiny, arguments.shard_mib)
        merged, merge_seconds = _measure("merge", large, arguments.shard_mib)
        loaded, load_seconds = _measure("load", large, arguments.shard_mib)
        weights = load_file(large[0] / "model.safetensors")
    bound = 1.5 * (max(tensor.nbytes for tensor in weights.values()) / _MIB + arguments.shard_mib)
    size = sum(tensor.nbytes for tensor in weights.values()) / _MIB
    table = Table("what", "peak above idle", "ratio", "seconds", title=f"{len(large)} models of {size:.0f} MiB")
    table.add_row("load all models", f"{loaded - idle:.0f} MiB", "1", f"{load_seconds:.1f}")
    ratio = f"1/{(loaded - idle) / (merged - idle):.0f}"
    table.add_row("merge_checkpoints", f"{merged - idle:.0f} MiB", ratio, f"{merge_seconds:.1f}")
    table.add_row("bound: 1.5 x (largest tensor + shard)", f"{bound:.0f} MiB", "", "")
    Console().print(table)
    if merged - idle > bound:
        sys.exit("merge_checkpoints is above the bound")


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=4, help="models to merge")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the models")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--shard-mib", type=int, default=128, help="largest output file")
    parser.add_argument("--child", choices=("merge", "load"), help=argparse.SUPPRESS)
    parser.add_argument("paths", type=Path, nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _make_models(directory: Path, count: int, hidden: int, layers: int, vocabulary: int) -> list[Path]:
    """Llama-shaped float32 models with tied embeddings and random weights."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    paths = [directory / f"model{number}" for number in range(count)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return paths


def _measure(task: str, paths: Sequence[Path], shard_mib: int) -> tuple[float, float]:
    """Peak resident memory in MiB and wall time in seconds of a child process."""
    command = [sys.executable, "-m", "bench.merge", "--child", task, "--shard-mib", str(shard_mib), *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds = map(float, result.stdout.split())
    return peak, seconds


def _run_child(task: str, paths: list[Path], shard_bytes: int) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as out:
        if task == "merge":
            merge_checkpoints(paths, Path(out, "merged"), shard_bytes=shard_bytes)
        else:
            _merge_in_memory(paths, Path(out, "merged.safetensors"))
    print(_peak_mib(), time.perf_counter() - start)


def _merge_in_memory(paths: Sequence[Path], out: Path) -> None:
    states = [load_file(path / "model.safetensors") for path in paths]
    means = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    save_file({name: mean.bfloat16() for name, mean in means.items()}, out)


def _peak_mib() -> float:
    """The process's own peak; getrusage's would start at that of the parent, which made the models."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main()
