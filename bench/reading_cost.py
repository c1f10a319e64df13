"""What reading costs on a CPU: python -m bench.reading_cost DATASET [--questions N].

Tokens and processor seconds per question of three ways to let the same small LLM judge a question's best sessions: the
likelihood of the question after an excerpt of each; the ranker's list, all candidates in one prompt; and the ranker
asked about as many sessions as the likelihood reads, each alone. It takes test questions from what a pipeline run has
left in data/ and models/, with the parameters of params.yaml, so that prompts are the run's own. Tokens count whole
prompts, also what comes from the prefix cache. The start of the engines is not counted.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.side_by_side.timing import cpu_seconds, in_process
from memsifter.command import command
from memsifter.corpus.store import Dataset, load_dataset
from memsifter.errors import MemSifterError
from memsifter.io.paths import dataset_directory, model_directory, orders_file, scores_file
from memsifter.llm.prompts import prompt_path
from memsifter.llm.runtime import engine_arguments, engine_environment
from memsifter.llm.tokens import load_tokenizer
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import Params, RankParams, load_params
from memsifter.ranking.candidates import CoarseScores, load_coarse_scores
from memsifter.ranking.engine import Response, TokenPrompt
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import QuestionPrompt, build_prompts, read_candidates
from memsifter.retrieval.catalogue import method_scores
from memsifter.retrieval.score_lists import ScoreLists

_WARM_UP = 2  # questions


def main() -> None:
    """Measure the three ways, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="of params.yaml")
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--ranker", default="base", help="a model of params.yaml")
    options = parser.parse_args()
    if options.questions < 1:
        parser.error("--questions must be at least 1")
    with command():
        _check(load_params(), options.dataset, options.ranker, options.questions)
        rows = []
        for name, measure in (("likelihood", _likelihood), ("list", _list), ("one by one", _one_by_one)):
            rows.append({"way": name, **in_process(measure, options.dataset, options.ranker, options.questions)})
        print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=",.1f"))


def _check(params: Params, dataset: str, ranker: str, count: int) -> None:
    """Refuse what would be seen only after the first way was measured."""
    if params.rank.engine.device != "cpu":
        raise MemSifterError("rank.engine.device is not cpu; bench.gpu measures GPUs")
    if dataset not in params.datasets:
        raise MemSifterError(f"datasets has no {dataset!r}; it has {', '.join(params.datasets)}")
    load_tokenizer(model_directory(ranker))
    if (found := len(_questions(dataset, count).questions)) < count + _WARM_UP:
        raise MemSifterError(f"dataset {dataset} has {found} test questions; {count} and {_WARM_UP} more are needed")


def _questions(dataset: str, count: int) -> Dataset:
    """The first test questions, and before them some to warm up."""
    data = load_dataset(dataset_directory(dataset), ["test"])
    return replace(data, questions=data.questions[: count + _WARM_UP])


def _timed(read: Callable[[Sequence[Any]], int], questions: Sequence[Any]) -> dict[str, float]:
    """Tokens and processor seconds per question; `read` reads some questions and says how many tokens they had."""
    read(questions[:_WARM_UP])
    started = cpu_seconds()
    tokens = read(questions[_WARM_UP:])
    count = len(questions) - _WARM_UP
    return {"tokens a question": tokens / count, "CPU s a question": (cpu_seconds() - started) / count}


def _likelihood(dataset: str, _: str, count: int) -> dict[str, float]:
    from memsifter.likelihood.model import LikelihoodReader
    from memsifter.likelihood.prompt import load_likelihood_prompt
    from memsifter.likelihood.texts import build_texts

    params = load_params()
    settings = params.retrieval.likelihood
    model = model_directory(settings.model)
    data = _questions(dataset, count)
    lists = ScoreLists.read(scores_file(dataset), method_scores(params.retrieval))
    prompt = load_likelihood_prompt(prompt_path(settings.prompt))
    texts = list(build_texts(data, lists, prompt, load_tokenizer(model), params.retrieval))
    reader = LikelihoodReader(str(model), settings)

    def read(items: Sequence[Any]) -> int:
        scored = [text for item in items for text in item.texts]
        reader.score(scored)
        return sum(len(text.tokens) for text in scored)

    return _timed(read, texts)


def _list(dataset: str, ranker: str, count: int) -> dict[str, float]:
    params = load_params()
    prompts = _Prompts(params, dataset, ranker, count)
    engine = _Engine(params, ranker, asked=params.rank.max_candidates)

    def read(items: Sequence[QuestionPrompt]) -> int:
        before = engine.tokens
        read_candidates(items, engine.ask, prompts.tokenizer, prompts.base, params.rank)
        return engine.tokens - before

    return _timed(read, prompts.build(params.rank, prompts.scores))


def _one_by_one(dataset: str, ranker: str, count: int) -> dict[str, float]:
    params = load_params()
    prompts = _Prompts(params, dataset, ranker, count)
    engine = _Engine(params, ranker, asked=0)
    alone = params.rank.model_copy(update={"max_candidates": 1})
    one_token = {"temperature": 0.0, "max_tokens": 1}
    questions: list[list[TokenPrompt]] = [[] for _ in prompts.data.questions]
    shortest = min(len(prompts.scores[question.question_id]) for question in prompts.data.questions)
    for place in range(min(shortest, params.retrieval.likelihood.sessions)):
        for texts, item in zip(questions, prompts.build(alone, prompts.lifted(place)), strict=True):
            texts.append(TokenPrompt(f"{item.prompt.prompt_id} {place}", item.prompt.tokens, one_token))

    def read(items: Sequence[list[TokenPrompt]]) -> int:
        before = engine.tokens
        engine.ask([prompt for texts in items for prompt in texts])
        return engine.tokens - before

    return _timed(read, questions)


class _Prompts:
    """The ranker's prompts as stage `rank` makes them."""

    def __init__(self, params: Params, dataset: str, ranker: str, count: int) -> None:
        self.data = _questions(dataset, count)
        self.scores = load_coarse_scores(orders_file(dataset))
        self.tokenizer = load_tokenizer(model_directory(ranker))
        self._prompt = load_ranker_prompt(prompt_path(params.rank.prompts.of_kind(params.datasets[dataset].kind)))
        self._params = params
        self.base = self._prompt.base

    def build(self, rank: RankParams, scores: Mapping[str, CoarseScores]) -> list[QuestionPrompt]:
        bm25, seed = self._params.retrieval.bm25, self._params.seed
        prompts = build_prompts(self.data, scores, self._prompt, self.tokenizer, rank, bm25, seed)
        place = {question.question_id: number for number, question in enumerate(self.data.questions)}
        return sorted(prompts, key=lambda item: place[item.question.question_id])  # each way times the same questions

    def lifted(self, place: int) -> dict[str, CoarseScores]:
        """Scores in which the session at a place of the coarse order is the best one."""
        lifted = {}
        for question in self.data.questions:
            scores = self.scores[question.question_id].copy()
            scores[order_by_score(scores)[place]] = scores.max() + 1
            lifted[question.question_id] = scores
        return lifted


class _Engine:
    """vLLM with the rank stage's settings, in this process, so that its processor seconds are this process's."""

    def __init__(self, params: Params, ranker: str, asked: int) -> None:
        engine = params.rank.engine
        os.environ |= engine_environment(engine)
        from vllm import LLM

        self._llm = LLM(model=str(model_directory(ranker)), **engine_arguments(engine, params.seed, asked))
        self.tokens = 0

    def ask(self, prompts: Sequence[TokenPrompt]) -> dict[str, Response]:
        from vllm import SamplingParams

        outputs = self._llm.generate(
            [{"prompt_token_ids": prompt.tokens} for prompt in prompts],
            [SamplingParams(**prompt.sampling) for prompt in prompts],
            use_tqdm=False,
        )
        responses = {}
        for prompt, output in zip(prompts, outputs, strict=True):
            (written,) = output.outputs
            self.tokens += len(prompt.tokens) + len(written.token_ids)
            given = None if written.logprobs is None else written.logprobs[0]
            logprobs = given and {token: about.logprob for token, about in given.items()}
            responses[prompt.prompt_id] = Response(
                prompt.prompt_id, written.text, len(prompt.tokens), len(written.token_ids), logprobs
            )
        return responses


if __name__ == "__main__":
    main()
