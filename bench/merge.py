"""Peak memory of merging k checkpoints: python -m bench.merge [--checkpoints K].

Two children do the same merge of made-up models: one with `merge_checkpoints`, one in the way of the authors' script,
which loads models one after the other and adds them up in another. A third one merges tiny models, so its peak is what
Python, the libraries and their first use take; the table counts what lies above it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models  # type: ignore[import-untyped]
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.side_by_side.rows import Result, Row, add_rows_option, finish
from bench.side_by_side.timing import cpu_seconds, peak_mib
from memsifter.checkpoints.merge import merge_checkpoints

_MIB = 1 << 20
_CHECKS = (
    "On the clock, the disk included. Ours first compares each checkpoint with its architecture, which takes a second, "
    "sums in float64, and refuses values that are not finite; the reference does none of this. Both read every byte "
    "once."
)


def main() -> None:
    """Make the models, run the children and print the figures; exit 1 if the merge needs more than it promises."""
    arguments = _read_arguments()
    if arguments.child:
        _run_child(arguments.child, arguments.paths, arguments.shard_mib * _MIB)
        return
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as directory:
        tiny = _make_models(Path(directory, "tiny"), arguments.checkpoints, 8, 1, 64)
        large = _make_models(
            Path(directory, "large"), arguments.checkpoints, arguments.hidden, arguments.layers, arguments.vocabulary
        )
        idle = _run("merge", tiny, arguments.shard_mib)[0]
        runs = [
            (_run("load", large, arguments.shard_mib), _run("merge", large, arguments.shard_mib))
            for _ in range(arguments.repeats)
        ]
        sizes = [tensor.nbytes / _MIB for tensor in load_file(large[0] / "model.safetensors").values()]
    loaded, merged = ([median(run[way][figure] for run in runs) for figure in range(3)] for way in range(2))
    bound = 1.5 * (max(sizes) + arguments.shard_mib)
    work = f"merge {len(large)} checkpoints of {sum(sizes):.0f} MiB in float32"
    way = "models loaded and added up in float32"
    moved = f"{len(large) * sum(sizes):.0f} MiB read, {sum(sizes) / 2:.0f} MiB written in bfloat16"
    rows = [
        Row(
            f"{work}: peak memory above Python's",
            way,
            loaded[0] - idle,
            merged[0] - idle,
            "MiB",
            3,
            max(sizes),
            "the largest tensor",
            f"Ours holds a file of at most {arguments.shard_mib} MiB while it is written.",
        ),
        Row(
            work,
            way,
            loaded[1],
            merged[1],
            "s",
            1.5,
            floor_is=moved,
            note=_CHECKS,
        ),
        Row(work, way, loaded[2], merged[2], "CPU s", floor_is=moved, note="Python's start and imports included."),
    ]
    finish(Result(rows), arguments.rows)
    if merged[0] - idle > bound:
        sys.exit(f"merge_checkpoints is above the bound of {bound:.0f} MiB")


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=3, help="models to merge")
    parser.add_argument("--hidden", type=int, default=576, help="width of the models")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--shard-mib", type=int, default=128, help="largest output file")
    parser.add_argument("--repeats", type=int, default=3)
    add_rows_option(parser)
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
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a")))
    paths = [directory / f"model{number}" for number in range(count)]
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    for path in paths:
        with torch.no_grad():
            model.model.norm.weight += 1  # no two checkpoints are the same; drawing all weights again takes minutes
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return paths


def _run(task: str, paths: Sequence[Path], shard_mib: int) -> tuple[float, float, float]:
    """Peak resident memory in MiB, seconds on the clock, and processor seconds of a child process."""
    command = [sys.executable, "-m", "bench.merge", "--child", task, "--shard-mib", str(shard_mib), *map(str, paths)]
    used = cpu_seconds()
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds = map(float, result.stdout.split())
    return peak, seconds, cpu_seconds() - used


def _run_child(task: str, paths: list[Path], shard_bytes: int) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as out:
        if task == "merge":
            merge_checkpoints(paths, Path(out, "merged"), shard_bytes=shard_bytes)
        else:
            _merge_in_models(paths, Path(out, "merged"))
    print(peak_mib(), time.perf_counter() - start)


def _merge_in_models(paths: Sequence[Path], out: Path) -> None:
    """As the authors' script does: the first model holds the result, and each is loaded whole to be added."""
    merged = AutoModelForCausalLM.from_pretrained(paths[0], dtype=torch.float32)
    means = {name: torch.zeros_like(parameter) for name, parameter in merged.named_parameters()}
    for path in paths:
        state = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).state_dict()
        for name, mean in means.items():
            mean += state[name] / len(paths)
        del state
    merged.load_state_dict(means, strict=False)  # the head is the embedding's tensor
    merged.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(paths[0]).save_pretrained(out)


if __name__ == "__main__":
    main()
