"""Let the ranker LLM order the candidate sessions of every question: python -m stages.rank <ranker> <dataset>.

The ranker sees the best candidates of the coarse filter, thinks, and writes `<ranking>3,1,7</ranking>`; what it leaves
out follows in coarse order.
"""

import logging
from collections import Counter
from statistics import fmean

from memsifter.command import run_stage
from memsifter.corpus.sessions import Split
from memsifter.corpus.store import load_dataset
from memsifter.io.files import write_parquet
from memsifter.io.paths import cache_directory, dataset_directory, model_directory, orders_file, rankings_file
from memsifter.io.text_cache import TextCache
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer, opened_thought
from memsifter.params import Params, RankParams
from memsifter.ranking.engine import generate_cached
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import RANKINGS_SCHEMA, build_prompts, load_coarse_scores, read_responses

logger = logging.getLogger(__name__)


def main(params: Params, ranker: str, dataset: str) -> dict[str, float]:
    """Write `data/rankings/<ranker>/<dataset>.parquet`, one row per question of the ranker's splits."""
    prompt = load_ranker_prompt(prompt_path(params.rank.prompts.of_kind(params.datasets[dataset].kind)))
    model = model_directory(ranker)
    tokenizer = load_tokenizer(model)
    questions = load_dataset(dataset_directory(dataset), splits_to_rank(params.rank, ranker))
    scores = load_coarse_scores(orders_file(dataset))
    bm25 = params.retrieval.bm25
    prompts = build_prompts(questions, scores, prompt, tokenizer, params.rank, bm25, params.seed)
    logger.info("%d questions, %.1f candidates each", len(prompts), fmean(len(item.candidates) for item in prompts))
    cache = TextCache(cache_directory("responses"))
    tokens = [item.prompt for item in prompts]
    responses = generate_cached(tokens, model, cache, params.rank, params.cluster, params.seed)
    rows = list(read_responses(prompts, responses, questions, scores, prompt.base, opened_thought(tokenizer)))
    write_parquet(rankings_file(ranker, dataset), rows, RANKINGS_SCHEMA)
    statuses = Counter(row["parse_status"] for row in rows)
    logger.info("rankings parsed: %s", dict(statuses))
    return {
        "questions": len(rows),
        "prompt_tokens_mean": fmean(row["prompt_tokens"] for row in rows),
        "response_tokens_mean": fmean(row["response_tokens"] for row in rows),
        **{f"parse_{status}": statuses[status] / len(rows) for status in ("ok", "repaired", "failed")},
    }


def splits_to_rank(rank: RankParams, ranker: str) -> tuple[Split, ...]:
    """The splits whose questions a ranker ranks: a round that starts from it draws from the train questions."""
    return tuple(dict.fromkeys((*rank.splits, *(("train",) if ranker in rank.train_rankers else ()))))


if __name__ == "__main__":
    run_stage(main)
