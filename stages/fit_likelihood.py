"""Train a model for the likelihood score on train questions with gold sessions: python -m stages.fit_likelihood <name>.

What is trained is a LoRA adapter; it is merged into the model, and lies beside it.
"""

import logging

import pandas as pd

from memsifter.cards.render import CARD_FILE, render_adapter_card
from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import atomic_directory, write_text
from memsifter.io.paths import (
    cache_directory,
    dataset_directory,
    likelihood_report_directory,
    model_directory,
    scores_file,
)
from memsifter.likelihood.finetune import build_examples, finetune
from memsifter.likelihood.model import max_positions
from memsifter.likelihood.prompt import load_likelihood_prompt
from memsifter.likelihood.texts import build_texts, require_room
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.models.adapters import merge_adapter
from memsifter.params import Params
from memsifter.retrieval.catalogue import method_scores
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params, name: str) -> dict[str, float]:
    """Write `models/<name>/`, with the adapter in `adapter/`, and `reports/likelihood/<name>/curve.csv`."""
    settings = params.retrieval.likelihood.fits[name]
    base = model_directory(settings.model)
    prompt = load_likelihood_prompt(prompt_path(params.retrieval.likelihood.prompt))
    tokenizer = load_tokenizer(base)
    longest = max_positions(base)
    examples = []
    for dataset in settings.datasets:
        questions = load_dataset(dataset_directory(dataset), ("train",))
        scores = ScoreLists.read(scores_file(dataset), method_scores(params.retrieval))
        scores.require_finite(f"data/scores/{dataset}.parquet", "repeat score")
        texts = list(build_texts(questions, scores, prompt, tokenizer, params.retrieval))
        require_room(texts, base, longest)
        found = build_examples(questions, scores, texts, params.retrieval)
        logger.info("%s: %d of %d train questions have gold among what is read", dataset, len(found), len(texts))
        examples += found
    with atomic_directory(model_directory(name)) as out:
        adapter = out / "adapter"
        losses = finetune(examples, base, settings, cache_directory("fit_likelihood"), adapter, params.seed)
        merge_adapter(base, adapter, out)
        write_text(adapter / CARD_FILE, render_adapter_card(params, name, len(examples), losses))
    curve = pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses})
    write_text(likelihood_report_directory(name) / "curve.csv", curve.to_csv(index=False))
    tenth = max(1, len(losses) // 10)
    return {
        "questions": len(examples),
        "steps": len(losses),
        "loss_first": float(curve.loss[:tenth].mean()),
        "loss_last": float(curve.loss[-tenth:].mean()),
    }


if __name__ == "__main__":
    run_stage(main)
