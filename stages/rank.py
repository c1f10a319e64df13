"""Order the candidate sessions of every question by the ranker: python -m stages.rank <ranker> <dataset>.

The ranker sees the best candidates of the coarse filter and scores them; its scores and the coarse ones make the
ranking, as `rank.fusion` says. A coarse order can stand in for a ranker (`ref: order:…`); it needs no LLM.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from memsifter.command import run_stage
from memsifter.corpus.sessions import Split
from memsifter.corpus.store import load_dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import write_parquet
from memsifter.io.paths import (
    cache_directory,
    dataset_directory,
    model_directory,
    orders_file,
    rank_fusion_file,
    rankings_file,
)
from memsifter.io.text_cache import TextCache
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.models.references import read_order
from memsifter.models.trained_on import read_trained_on
from memsifter.params import Params, RankParams
from memsifter.ranking.candidates import load_coarse_scores
from memsifter.ranking.engine import Response, TokenPrompt, generate_cached
from memsifter.ranking.fusion import choose_fit_questions, decide_fusion
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import build_prompts, read_candidates
from memsifter.ranking.rows import RANKINGS_SCHEMA, order_rows, ranking_rows
from memsifter.ranking.weight import RankFusion, write_rank_fusion

logger = logging.getLogger(__name__)


def main(params: Params, ranker: str, dataset: str) -> dict[str, float]:
    """Write `data/rankings/<ranker>/<dataset>.parquet`, one row per question of the ranker's splits, and `….json`."""
    model = model_directory(ranker)
    splits = splits_to_rank(params.rank, ranker)
    order = read_order(model)
    if order is None:
        rows, fusion = _rank(params, model, dataset, splits)
    else:
        scores = load_coarse_scores(orders_file(dataset), order)
        rows, fusion = list(order_rows(load_dataset(dataset_directory(dataset), splits), scores)), RankFusion("order")
        logger.info("%d questions in the coarse order %s", len(rows), order)
    write_parquet(rankings_file(ranker, dataset), rows, RANKINGS_SCHEMA)
    write_rank_fusion(rank_fusion_file(ranker, dataset), fusion)
    statuses = Counter(row["parse_status"] for row in rows)
    return {
        "questions": len(rows),
        "prompt_tokens_mean": fmean(row["prompt_tokens"] for row in rows),
        "response_tokens_mean": fmean(row["response_tokens"] for row in rows),
        **{f"parse_{status}": statuses[status] / len(rows) for status in ("ok", "repaired", "failed")},
        **({} if fusion.weight is None else {"fusion_weight": fusion.weight}),
    }


def _rank(
    params: Params, model: Path, dataset: str, splits: Sequence[Split]
) -> tuple[list[dict[str, Any]], RankFusion]:
    """Ask the ranker about the questions of some splits, and about train questions where its weight is fitted."""
    prompt = load_ranker_prompt(prompt_path(params.rank.prompts.of_kind(params.datasets[dataset].kind)))
    tokenizer = load_tokenizer(model)
    scores = load_coarse_scores(orders_file(dataset))
    fits, bm25 = params.rank.fusion == "fitted", params.retrieval.bm25
    data = load_dataset(dataset_directory(dataset), {*splits, "train"} if fits else splits)
    seen = frozenset(read_trained_on(model).get(dataset, ()))
    chosen = choose_fit_questions(data, params.rank.fit_questions, seen) if fits else []
    ranked = tuple(question for question in data.questions if question.split in splits)
    if not ranked:
        raise MemSifterError(f"{dataset} has no question in split(s) {', '.join(splits)}; see rank.splits")
    more = tuple(question for question in chosen if question.split not in splits)
    both = replace(data, questions=(*ranked, *more))
    asked = build_prompts(both, scores, prompt, tokenizer, params.rank, bm25, params.seed)
    prompts = [item for item in asked if item.question.split in splits]
    logger.info(
        "%d questions, %.1f candidates each; %d train questions to fit the fusion on",
        len(prompts),
        fmean(len(item.candidates) for item in prompts),
        len(chosen),
    )
    cache = TextCache(cache_directory("responses"))

    def ask(sent: Sequence[TokenPrompt]) -> dict[str, Response]:
        return generate_cached(sent, model, cache, params.rank, params.cluster, params.seed)

    readings = read_candidates(asked, ask, tokenizer, prompt.base, params.rank)
    logger.info("rankings parsed: %s", dict(Counter(reading.status for reading in readings.values())))
    by_id = {item.question.question_id: item for item in asked}
    names = [question.question_id for question in chosen]
    fusion = decide_fusion(params.rank, [(by_id[name], readings[name], scores[name]) for name in names], data)
    logger.info("ranking: %s", fusion.describe())
    return list(ranking_rows(prompts, readings, data, scores, params.rank, fusion)), fusion


def splits_to_rank(rank: RankParams, ranker: str) -> tuple[Split, ...]:
    """The splits whose questions a ranker ranks: a round that starts from it draws from the train questions."""
    return tuple(dict.fromkeys((*rank.splits, *(("train",) if ranker in rank.train_rankers else ()))))


if __name__ == "__main__":
    run_stage(main)
