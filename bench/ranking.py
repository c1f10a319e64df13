"""The ranker's engine against one prompt at a time: python -m bench.ranking [--model DIR].

All questions of a haystack have the same sessions in their prompts, and the question at the end. The reference runs
vLLM with `max_num_seqs=1` and without prefix caching; ours with the settings of the rank stage. Each engine has a
process of its own, one after the other, both greedy in float32, and must write the same text.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.side_by_side.conversations import add_file_argument, name_of, read_conversations
from bench.side_by_side.rows import Result, Row, Scale, add_rows_option, finish
from bench.side_by_side.timing import cpu_seconds, in_process
from memsifter.corpus.store import Dataset
from memsifter.io.paths import model_directory
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import Tokenizer, encode_prompt, fold_system, load_tokenizer
from memsifter.params import load_params
from memsifter.ranking.prompt import load_ranker_prompt, render_messages

_PLAIN: Mapping[str, Any] = {"max_num_seqs": 1, "enable_prefix_caching": False}


def main() -> None:
    """Rank both ways and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_file_argument(parser)
    parser.add_argument("--questions", type=int, default=100, help="of each haystack, at most")
    parser.add_argument("--haystacks", type=int, default=1)
    parser.add_argument("--haystack-tokens", type=int, default=1500, help="most tokens of a haystack in the prompt")
    parser.add_argument("--written", type=int, default=16, help="tokens that are written for each question")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each engine, the cache emptied before each")
    parser.add_argument("--model", type=Path, default=model_directory("base"), help="the ranker")
    add_rows_option(parser)
    options = parser.parse_args()
    finish(_measure(options), options.rows)


def _measure(options: argparse.Namespace) -> Result:
    dataset = read_conversations(options.file, options.haystacks)
    prompts = _prompts(dataset, load_tokenizer(options.model), options)
    figures = [in_process(_generate, options, prompts, change) for change in (_PLAIN, {})]
    plain, ours = figures
    same = sum(one == other for one, other in zip(plain["texts"], ours["texts"], strict=True))
    total = sum(map(len, prompts))
    distinct = _distinct_tokens(prompts)
    work = (
        f"rank, {len(prompts)} {name_of(options.file)} questions over {options.haystacks} shared haystack(s), prompts "
        f"of {total // len(prompts):,} tokens, {options.written} written"
    )
    way = "`max_num_seqs` 1, no prefix caching"
    said = f"The text is the same for {same} of {len(prompts)} questions."
    rows = [
        Row(work, way, plain["wall"], ours["wall"], "s", 5, floor_is="each distinct token read once", note=said),
        Row(work, way, plain["cpu"], ours["cpu"], "CPU s", 5, floor_is="each distinct token read once", note=said),
        Row(
            f"{work}: tokens read",
            way,
            float(total),
            float(total - ours["cached"]),
            "tokens",
            5,
            float(distinct),
            "the shared sessions once, and each question",
            f"{ours['cached'] / total:.0%} come from the prefix cache, which keeps blocks of many tokens; questions "
            "that start together compute the shared part more than once.",
        ),
    ]
    scaling = [Scale("rank: prompt tokens from the prefix cache", work, 100 * ours["cached"] / total, "%")]
    return Result(rows, scaling)


def _prompts(dataset: Dataset, tokenizer: Tokenizer, options: argparse.Namespace) -> list[list[int]]:
    """The prompts of the default profile, but with as many whole sessions of the haystack as fit, in its order."""
    prompt = fold_system(load_ranker_prompt(prompt_path(load_params().rank.prompts.chat)), tokenizer)
    prompts = []
    for index in dataset.haystacks.values():
        asked = [question for question in dataset.questions if question.haystack_id == index.haystack_id]
        sessions: list[tuple[str, str]] = []
        for date, key in zip(index.dates, index.session_keys, strict=True):
            shown = [*sessions, (date, dataset.text(key))]
            if len(encode_prompt(render_messages(prompt, "", "", shown), tokenizer)) > options.haystack_tokens:
                break
            sessions = shown
        for question in asked[: options.questions]:
            messages = render_messages(prompt, question.question, question.question_date, sessions)
            prompts.append(encode_prompt(messages, tokenizer))
    return prompts


def _distinct_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that follow a prefix which no earlier prompt had."""
    known: set[int] = set()
    for prompt in prompts:
        prefix = 0
        for token in prompt:
            prefix = hash((prefix, token))
            known.add(prefix)
    return len(known)


def _generate(options: argparse.Namespace, prompts: Sequence[list[int]], change: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of one engine, medians of its runs; it is warmed up by a prompt of another text."""
    import os

    from memsifter.llm.runtime import engine_arguments, engine_environment

    longest = max(map(len, prompts)) + options.written
    engine = load_params().rank.engine.model_copy(
        update={"max_model_len": longest, "max_num_batched_tokens": max(longest, 2048)}
    )
    os.environ |= engine_environment(engine)
    from vllm import LLM, SamplingParams

    llm = LLM(model=str(options.model), **engine_arguments(engine, seed=0) | dict(change))
    sampling = SamplingParams(temperature=0, max_tokens=options.written, ignore_eos=True)
    llm.generate([{"prompt_token_ids": prompts[0][::-1]}], sampling, use_tqdm=False)
    wall, cpu = [], []
    for _ in range(options.repeats):
        llm.reset_prefix_cache()
        started, used = time.perf_counter(), cpu_seconds()
        outputs = llm.generate([{"prompt_token_ids": tokens} for tokens in prompts], sampling, use_tqdm=False)
        wall.append(time.perf_counter() - started)
        cpu.append(cpu_seconds() - used)
    return {
        "wall": median(wall),
        "cpu": median(cpu),
        "cached": sum(output.num_cached_tokens or 0 for output in outputs),
        "texts": [output.outputs[0].text for output in outputs],
    }


if __name__ == "__main__":
    main()
