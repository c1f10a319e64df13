"""What the model reads: for every question the best sessions of the hand-weighted order, an excerpt of each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.combine import combine_scores
from memsifter.likelihood.model import ScoredText
from memsifter.likelihood.prompt import LikelihoodPrompt
from memsifter.llm.prompts import UNKNOWN_DATE, fill, plain_text
from memsifter.llm.tokens import Tokenizer
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import RetrievalParams
from memsifter.retrieval.excerpts import SessionViews
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.score_lists import ScoreLists

_SHOW_AFTER_S = 3.0


@dataclass(frozen=True, slots=True)
class QuestionTexts:
    """A question, and what is read for it.

    Attributes:
        question: the question.
        sessions: how many sessions its haystack has.
        positions: haystack positions of the sessions that are read, best first.
        texts: one for each of them.
    """

    question: Question
    sessions: int
    positions: tuple[int, ...]
    texts: tuple[ScoredText, ...]


def build_texts(
    dataset: Dataset,
    scores: ScoreLists,
    prompt: LikelihoodPrompt,
    tokenizer: Tokenizer,
    params: RetrievalParams,
    lexical: LexicalIndex | None = None,
) -> Iterator[QuestionTexts]:
    """Tokenize what is read for every question, in the dataset's order.

    Args:
        dataset: the questions.
        scores: the coarse scores that `hand_weighted` sums.
        prompt: the prompt file.
        tokenizer: the model's.
        params: how sessions are ordered, how many are read, and how long an excerpt is.
        lexical: the terms of the dataset by `params.bm25`, where they are known.

    Raises:
        MemSifterError: a question is empty, or its coarse scores are missing.
    """
    # `hand_weighted` needs no fitted weights: the likelihood is one of the scores that they are fitted for.
    hand_weighted = combine_scores(scores, params, {})["hand_weighted"]
    rows = {name: row for row, name in enumerate(scores.question_ids)}
    views = SessionViews(dataset, tokenizer, "excerpt", params.likelihood.excerpt_tokens, lexical or params.bm25)
    opening = opening_tokens(tokenizer)
    for question in tqdm(dataset.questions, desc="excerpts", unit="question", disable=None, delay=_SHOW_AFTER_S):
        index = dataset.haystack_of(question)
        row = rows.get(question.question_id)
        first, end = (0, 0) if row is None else scores.offsets[row : row + 2]
        if end - first != len(index.session_ids):
            raise MemSifterError(f"question {question.question_id!r}: its coarse scores are missing; repeat score")
        positions = tuple(order_by_score(hand_weighted[first:end])[: params.likelihood.sessions])
        excerpts = [view.text for view in views.show(question, [index.session_keys[place] for place in positions])]
        shown = list(zip([index.dates[place] for place in positions], excerpts, strict=True))
        texts = tokenize_texts(question, shown, prompt, tokenizer, opening)
        yield QuestionTexts(question, len(index.session_ids), positions, tuple(texts))


def tokenize_texts(
    question: Question,
    sessions: Sequence[tuple[str, str]],
    prompt: LikelihoodPrompt,
    tokenizer: Tokenizer,
    opening: Sequence[int] = (),
) -> list[ScoredText]:
    """The tokens of the context of each session and those of the question, tokenized apart and put together.

    So the question has the same tokens after every session: no token holds the end of the one and the start of the
    other, and their likelihoods can be compared.

    Args:
        question: which question.
        sessions: (date, excerpt) of each session; a date may be empty.
        prompt: the prompt file.
        tokenizer: the model's.
        opening: what the model expects before any text (`opening_tokens`).

    Raises:
        MemSifterError: the question is blank, or there is nothing before it that the model could read.
    """
    asked = fill(prompt.question, {"question": plain_text(question.question)})
    contexts = [
        fill(
            prompt.context,
            {
                "date": plain_text(date) or UNKNOWN_DATE,
                "text": plain_text(text),
                "question_date": plain_text(question.question_date) or UNKNOWN_DATE,
            },
        )
        for date, text in sessions
    ]
    scored, *before = tokenizer([asked, *contexts], add_special_tokens=False, verbose=False).input_ids
    if not question.question.strip() or not scored:
        raise MemSifterError(f"question {question.question_id!r} is blank: there is nothing to score")
    if not opening and not all(before):
        raise MemSifterError(
            f"question {question.question_id!r}: nothing stands before it; put a word into context of the prompt file"
        )
    return [ScoredText((*opening, *context, *scored), len(scored)) for context in before]


def require_room(texts: Iterable[QuestionTexts], model: Path, longest: int | None) -> None:
    """Refuse texts that are longer than a model reads.

    Args:
        texts: of all questions.
        model: the model's directory.
        longest: the most tokens that it reads (`memsifter.likelihood.model.max_positions`); None for no limit.

    Raises:
        MemSifterError: names the first question that is too long, and what to lower.
    """
    for item in texts:
        tokens = max(len(text.tokens) for text in item.texts)
        if longest is not None and tokens > longest:
            raise MemSifterError(
                f"question {item.question.question_id!r}: an excerpt and the question are {tokens} tokens, and {model} "
                f"reads at most {longest}; lower retrieval.likelihood.excerpt_tokens, or choose another model"
            )


def opening_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The special tokens that a tokenizer puts before a text, such as `<s>`; none with many of them.

    Raises:
        MemSifterError: the text's own tokens are others with special tokens around them.
    """
    probe = "a"
    (plain,) = tokenizer([probe], add_special_tokens=False).input_ids
    (whole,) = tokenizer([probe]).input_ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return tuple(whole[:start])
    raise MemSifterError(
        "the tokenizer's special tokens change the text between them, so that a question cannot be scored; choose "
        "another retrieval.likelihood.model"
    )
