"""What a bare GPU machine does with this code: python -m bench.gpu [STEP ...] [--device cpu].

Each step works alone, prints its figures, and needs no network; models have random weights of the shape of --shape:
  attention   forward and backward pass: a packed row against one sequence at a time, and against the memory plan
  engine      the rank stage's engine against vLLM's own offline generation on the same prompts, and how much of prompts
              that share a haystack comes from the prefix cache
  likelihood  questions read in batches against one at a time
  embed       texts and tokens per second of the embed stage's encoder
  memory      two training steps with vLLM's rollout: the trainer's peak against what `memsifter plan` says
  train       ten steps of a tiny model with vLLM's rollout, stopped at the sixth, resumed, collected, merged, sampled
"""

import argparse
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu.inference import measure_embedding, measure_engine, measure_likelihood
from bench.gpu.setup import QWEN3, Setup
from bench.gpu.training import measure_attention, measure_memory, measure_training

STEPS: dict[str, Callable[[Setup], dict[str, Any]]] = {
    "attention": measure_attention,
    "engine": measure_engine,
    "likelihood": measure_likelihood,
    "embed": measure_embedding,
    "memory": measure_memory,
    "train": measure_training,
}


def main() -> None:
    """Run the steps that are named, else all, and print their figures; a step that fails does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)} (default: all)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--prompts", type=int, default=256, help="prompts of `engine`, texts of `likelihood`, `embed`")
    parser.add_argument("--prompt-tokens", type=int, default=4096, help="of each, and of a sequence that is trained on")
    parser.add_argument("--shape", type=Path, default=QWEN3, help="a folder with a causal LM's config.json")
    parser.add_argument("--embedder", type=Path, help="Hugging Face directory for `embed` (default: random weights)")
    parser.add_argument("--folder", type=Path, help="keep models, logs and checkpoints here (default: a temporary one)")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    if options.folder and options.folder.is_dir() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty: a run in it would go on, and not be measured anew")
    failed = []
    with tempfile.TemporaryDirectory(prefix="memsifter-gpu-") as temporary:
        folder = options.folder or Path(temporary)
        setup = Setup(options.device, options.prompts, options.prompt_tokens, options.shape, options.embedder, folder)
        for name in options.steps or STEPS:
            started = time.monotonic()
            try:
                figures = STEPS[name](setup)
            except Exception:  # whatever it is: the machine is rented, and the other steps are worth their minutes
                traceback.print_exc()
                failed.append(name)
                figures = {}
            for figure, value in figures.items():
                print(f"{name}: {figure}: {value:.4g}" if isinstance(value, float) else f"{name}: {figure}: {value}")
            print(f"{name}: took {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        parser.exit(1, f"failed: {', '.join(failed)}\n")


if __name__ == "__main__":
    main()
