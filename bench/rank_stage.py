"""The rank stage's engine on Ray against vLLM's own offline generation: python -m bench.rank_stage [--model DIR].

It is step `engine` of `bench.gpu`, on the CPU: prompts in fours that share nine tenths, through a model with the
ranker's shape and random weights. Both start engines; the stage's start is taken out by a shorter run.
"""

import argparse
import tempfile
from pathlib import Path

from bench.gpu.inference import measure_engine
from bench.gpu.setup import Setup
from bench.side_by_side.rows import Result, Row, add_rows_option, finish
from memsifter.io.paths import model_directory


def main() -> None:
    """Generate both ways and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--model", type=Path, default=model_directory("base"), help="a folder with config.json")
    add_rows_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as folder:
        setup = Setup("cpu", options.prompts, options.prompt_tokens, options.model, None, Path(folder))
        figures = measure_engine(setup)
    cached = figures["offline share of prompt tokens from the prefix cache"]
    start, bare = figures["pipeline start s, first prompts included"], figures["offline start s"]
    row = Row(
        f"rank stage, {options.prompts} prompts of {options.prompt_tokens} tokens, random weights",
        "vLLM's own offline generation",
        figures["offline tokens/s"],
        figures["pipeline tokens/s"],
        "tokens/s",
        0.95,
        figures["offline tokens/s"],
        "the same engine without Ray",
        f"On the clock. {cached:.0%} of prompt tokens come from the prefix cache. Starting takes {start:.0f} s, the "
        f"first prompts included, and {bare:.0f} s without Ray.",
        more_is_better=True,
    )
    finish(Result([row]), options.rows)


if __name__ == "__main__":
    main()
