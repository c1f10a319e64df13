"""What excerpts keep of the evidence, and what they save: python -m bench.views FILE [--model DIR] [--answers N].

FILE is LoCoMo's raw layout, which names the turns that hold the evidence of each question. Three tables: how often the
gold sessions are shown with these turns, by view and budget; tokens of the prompts of ranker and working LLM, whole
sessions against excerpts; and, with --answers, the token F1 of answers that a model gives from the gold sessions.
Intervals are 95 % bootstrap intervals over questions; differences are paired.
"""

import argparse
import json
import random
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from tqdm import tqdm

from memsifter.chat.context import ContextBuilder
from memsifter.chat.prompt import extract_answer, load_chat_prompt, render_prompt
from memsifter.corpus.sessions import Question, render_turns
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.io.paths import model_directory
from memsifter.llm.prompts import plain_text, prompt_path
from memsifter.llm.tokens import Tokenizer, count_prompt, load_tokenizer
from memsifter.metrics.answers import token_f1
from memsifter.metrics.bootstrap import bootstrap_interval, paired_bootstrap_interval
from memsifter.params import Bm25Params, View, load_params
from memsifter.ranking.candidates import PromptBuilder
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.retrieval.excerpts import WINDOW_TURNS, SessionViews
from memsifter.retrieval.lexical import LexicalIndex

_SAMPLES, _SEED = 2000, 7
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")
_NEW_TOKENS = 24
_LONGEST_PROMPT = 2000
Evidence = Mapping[str, Mapping[str, Sequence[int]]]
"""Turns that hold the evidence, by question id and session id."""


def main() -> None:
    """Measure and print the tables."""
    arguments = _read_arguments()
    with tempfile.TemporaryDirectory() as directory:
        write_dataset(read_dataset("locomo", path=arguments.file), Path(directory) / "data")
        dataset = load_dataset(Path(directory) / "data")
    tokenizer = load_tokenizer(arguments.model)
    evidence = read_evidence(arguments.file)
    asked = [question for question in dataset.questions if evidence.get(question.question_id)]
    print(_table(_evidence_rows(dataset, asked, evidence, tokenizer, arguments.budgets)))
    print(_table(_prompt_rows(dataset, tokenizer)))
    if arguments.answers:
        print(_table(_answer_rows(dataset, asked, tokenizer, arguments)))


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="LoCoMo's raw layout")
    parser.add_argument("--model", type=Path, default=model_directory("base"), help="the model that reads")
    parser.add_argument("--budgets", type=int, nargs="+", default=[48, 64, 96, 160, 320], help="tokens of a session")
    parser.add_argument("--answers", type=int, default=0, help="questions to answer from their gold sessions")
    parser.add_argument("--answer-budgets", type=int, nargs="+", default=[160, 320], help="tokens of a session there")
    return parser.parse_args()


def read_evidence(path: Path) -> Evidence:
    """The evidence of every question, of those ids that name a turn."""
    evidence: dict[str, dict[str, list[int]]] = {}
    for conversation in json.loads(path.read_text(encoding="utf-8")):
        turns = conversation["conversation"]
        places = {
            turn["dia_id"]: (name, place)
            for name, session in turns.items()
            if re.fullmatch(r"session_\d+", name)
            for place, turn in enumerate(session)
        }
        for number, item in enumerate(conversation["qa"]):
            named: dict[str, list[int]] = {}
            for session, turn in _TURN_ID.findall(" ".join(item["evidence"])):
                if place := places.get(f"D{session}:{turn}"):
                    named.setdefault(place[0], []).append(place[1])
            evidence[f"{conversation['sample_id']}-q{number}"] = named
    return evidence


def _evidence_rows(
    dataset: Dataset, asked: Sequence[Question], evidence: Evidence, tokenizer: Tokenizer, budgets: Sequence[int]
) -> Iterable[dict[str, object]]:
    whole, tokens = _shown_evidence(dataset, asked, evidence, SessionViews(dataset, tokenizer, "whole", None, _bm25()))
    yield {"view": "whole", "budget": "", "evidence shown": fmean(whole), "tokens": tokens}
    for budget in budgets:
        views: list[tuple[View, int]] = [("head", 1), *(("excerpt", size) for size in (1, 2, 3))]
        shown: dict[str, list[float]] = {}
        for view, size in views:
            session_views = SessionViews(dataset, tokenizer, view, budget, _bm25(), size)
            name = f"excerpt, windows of {size}" if view == "excerpt" else view
            shown[name], tokens = _shown_evidence(dataset, asked, evidence, session_views)
            row = {"view": name, "budget": budget, "evidence shown": fmean(shown[name]), "tokens": tokens}
            for other in ("head", f"excerpt, windows of {WINDOW_TURNS}"):
                if other in shown and other != name:
                    row[f"minus {other}"] = _difference(shown[name], shown[other])
            yield row


def _shown_evidence(
    dataset: Dataset, asked: Sequence[Question], evidence: Evidence, views: SessionViews
) -> tuple[list[float], float]:
    """By question, the share of its evidence turns that its gold sessions show whole; mean tokens of such a session."""
    shares, tokens = [], []
    for question in asked:
        keys = _keys(dataset, question)
        places = evidence[question.question_id]
        found: list[bool] = []
        for name, text in zip(places, views.show(question, [keys[name] for name in places]), strict=True):
            turns = dataset.turns(keys[name])
            found += [plain_text(render_turns([turns[place]])) in text.text for place in places[name]]
            tokens.append(text.tokens)
        shares.append(fmean(found))
    return shares, fmean(tokens)


def _prompt_rows(dataset: Dataset, tokenizer: Tokenizer) -> Iterable[dict[str, object]]:
    """Prompts of the default profile, sessions in the order of their BM25 scores."""
    params = load_params()
    scores = _lexical_scores(dataset)
    ranker = load_ranker_prompt(prompt_path(params.rank.prompts.chat))
    chat = load_chat_prompt(prompt_path(params.chat.prompts.chat))
    for view in ("whole", "excerpt"):
        changes = {"view": view} if view == "excerpt" else {"view": view, "session_tokens": None}
        rank = params.rank.model_copy(update={**changes, "context_tokens": 100_000})
        prompts = PromptBuilder(dataset, ranker, tokenizer, rank, _bm25())
        contexts = ContextBuilder(
            dataset, chat, tokenizer, params.chat.model_copy(update={**changes, "context_tokens": 100_000}), _bm25()
        )
        ranked, answered = [], []
        for question, row in zip(dataset.questions, scores, strict=True):
            ranked.append(count_prompt(prompts.fill(question, row).messages, tokenizer))
            names = dataset.haystack_of(question).session_ids
            order = [names[place] for place in np.argsort(-row, kind="stable")]
            text = contexts.fill(question, order).text
            answered.append(count_prompt(render_prompt(chat, question.question, "", text), tokenizer))
        yield {
            "view": view,
            "ranker's prompt, tokens": fmean(ranked),
            "longest": max(ranked),
            "working LLM's prompt, tokens": fmean(answered),
        }


def _answer_rows(
    dataset: Dataset, asked: Sequence[Question], tokenizer: Tokenizer, arguments: argparse.Namespace
) -> Iterable[dict[str, object]]:
    """Greedy answers from the gold sessions; questions whose whole gold sessions fit the model's context."""
    params = load_params().chat
    prompt = load_chat_prompt(prompt_path(params.prompts.chat))
    texts: dict[str, dict[str, str]] = {}
    cut = [(view, tokens) for tokens in arguments.answer_budgets for view in ("head", "excerpt")]
    for view, tokens in [("whole", None), *cut]:
        name = view if tokens is None else f"{view}, {tokens} tokens each"
        changed = params.model_copy(
            update={"view": view, "session_tokens": tokens, "context_tokens": 100_000, "max_sessions": 10}
        )
        contexts = ContextBuilder(dataset, prompt, tokenizer, changed, _bm25())
        texts[name] = {
            question.question_id: str(
                render_prompt(prompt, question.question, "", contexts.fill(question, question.answer_session_ids).text)
            )
            for question in asked
        }
    fitting = [item for item in asked if count_prompt(texts["whole"][item.question_id], tokenizer) <= _LONGEST_PROMPT]
    drawn = random.Random(_SEED).sample(fitting, arguments.answers)
    scores: dict[str, list[float]] = {}
    for name, prompts in texts.items():
        asked_texts = [prompts[question.question_id] for question in drawn]
        answers = _generate(asked_texts, arguments.model, tokenizer, name)
        scores[name] = [token_f1(text, item.answer) for text, item in zip(answers, drawn, strict=True)]
        interval = bootstrap_interval(scores[name], _SAMPLES, _SEED)
        head = name.replace("excerpt", "head")
        yield {
            "gold sessions": name,
            "prompt tokens": fmean(count_prompt(text, tokenizer) for text in asked_texts),
            "token F1": f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]",
            "minus whole": "" if name == "whole" else _difference(scores[name], scores["whole"]),
            "minus head": "" if name == head or head not in scores else _difference(scores[name], scores[head]),
        }


def _generate(prompts: Sequence[str], model: Path, tokenizer: Tokenizer, name: str) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM

    reader = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, local_files_only=True).eval()
    answers = []
    for text in tqdm(prompts, desc=name, unit="answer", disable=None):
        tokens = torch.tensor([tokenizer([text]).input_ids[0]])
        with torch.inference_mode():
            written = reader.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=_NEW_TOKENS, do_sample=False
            )
        decoded: str = tokenizer.decode(written[0][tokens.shape[1] :], skip_special_tokens=True)  # type: ignore[attr-defined]
        answers.append(extract_answer(decoded, "completion"))
    return answers


def _lexical_scores(dataset: Dataset) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    keys = {key: number for number, key in enumerate(dataset.session_keys)}
    texts = [question.question for question in dataset.questions]
    index = LexicalIndex([dataset.turns(key) for key in dataset.session_keys], texts, _bm25())
    scores = []
    for number, question in enumerate(dataset.questions):
        sessions = np.asarray([keys[key] for key in dataset.haystack_of(question).session_keys])
        scores.append(index.session_scores(np.asarray([number]), sessions)[0])
    return scores


def _bm25() -> Bm25Params:
    return load_params().retrieval.bm25


def _keys(dataset: Dataset, question: Question) -> dict[str, str]:
    index = dataset.haystack_of(question)
    return dict(zip(index.session_ids, index.session_keys, strict=True))


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    interval = paired_bootstrap_interval(values, others, _SAMPLES, _SEED)
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _table(rows: Iterable[dict[str, object]]) -> str:
    return f"{pd.DataFrame(list(rows)).fillna('').to_markdown(index=False, floatfmt='.3f')}\n"


if __name__ == "__main__":
    main()
