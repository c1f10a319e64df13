"""Let a causal LM read the best sessions of every question: python -m stages.likelihood <dataset>.

The score of a session is log P(question | date, excerpt). Values are looked up in the cache of what was ever read; only
the rest is computed, on Ray.
"""

import logging
from statistics import fmean

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import write_table
from memsifter.io.paths import cache_directory, dataset_directory, likelihoods_file, model_directory, scores_file
from memsifter.io.text_cache import TextCache
from memsifter.likelihood.model import max_positions
from memsifter.likelihood.pool import score_questions
from memsifter.likelihood.prompt import load_likelihood_prompt
from memsifter.likelihood.texts import build_texts, require_room
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.params import Params
from memsifter.retrieval.catalogue import method_scores
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> dict[str, float]:
    """Write `data/likelihoods/<dataset>.parquet`, one row per question of all splits."""
    settings = params.retrieval.likelihood
    prompt = load_likelihood_prompt(prompt_path(settings.prompt))
    model = model_directory(settings.model)
    longest = max_positions(model)
    tokenizer = load_tokenizer(model)
    data = load_dataset(dataset_directory(dataset))
    scores = ScoreLists.read(scores_file(dataset), method_scores(params.retrieval))
    scores.require_finite(f"data/scores/{dataset}.parquet", "repeat score")
    texts = list(build_texts(data, scores, prompt, tokenizer, params.retrieval))
    require_room(texts, model, longest)
    sessions = fmean(len(item.positions) for item in texts)
    tokens = fmean(sum(len(text.tokens) for text in item.texts) for item in texts)
    logger.info("%d questions, %.1f sessions and %.0f tokens each", len(texts), sessions, tokens)
    cache = TextCache(cache_directory("likelihoods"))
    write_table(likelihoods_file(dataset), score_questions(texts, model, cache, settings, params.cluster))
    return {"questions": len(texts), "sessions_mean": sessions, "tokens_mean": tokens}


if __name__ == "__main__":
    run_stage(main)
