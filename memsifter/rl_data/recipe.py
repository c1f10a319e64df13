"""The rows that a round takes from one dataset."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from memsifter.chat.context import ContextBuilder
from memsifter.chat.prompt import ChatPrompt
from memsifter.corpus.sessions import SPLITS, Split
from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.llm.tokens import Tokenizer, count_prompt
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import Bm25Params, ChatParams, DrawParams, RankParams
from memsifter.params.data import Kind
from memsifter.ranking.candidates import CoarseScores, FilledPrompt, PromptBuilder, scores_of
from memsifter.ranking.prompt import RankerPrompt
from memsifter.rl_data.draw import NDCG_K, Method, SplitCounts, count_split, draw_questions, measure_ndcg
from memsifter.rl_data.eligibility import EligibleQuestion, check_questions
from memsifter.rl_data.rows import Row, build_row

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoundModels:
    """The ranker that is trained and the working LLM that scores it, with their prompts for one kind of dataset.

    `bm25` chooses the excerpts of sessions that either is shown.
    """

    ranker_prompt: RankerPrompt
    ranker_tokenizer: Tokenizer
    rank: RankParams
    chat_prompt: ChatPrompt
    chat_tokenizer: Tokenizer
    chat: ChatParams
    bm25: Bm25Params


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset with what earlier stages found out about it.

    Attributes:
        name: of the dataset.
        kind: of the dataset.
        dataset: its questions of the splits that are drawn from.
        scores: (n,) coarse scores in haystack order, by question id.
        rankings: session ids, best first, by id of the train questions; None if these were not ranked.
    """

    name: str
    kind: Kind
    dataset: Dataset
    scores: Mapping[str, CoarseScores]
    rankings: Mapping[str, Sequence[str]] | None


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """What a round takes from one dataset.

    Attributes:
        name: of the dataset.
        kind: of the dataset.
        train: rows in the order drawn.
        test: rows in the order drawn.
        method: how the train questions were sampled.
        counts: what became of the questions of each split that was drawn from.
        ndcg: NDCG@10 of the train rows' questions: of the ranking they were sampled by, or of the coarse order.
        prompt_tokens: of the ranker's prompt, per train row, then per test row.
    """

    name: str
    kind: Kind
    train: list[Row]
    test: list[Row]
    method: Method
    counts: dict[Split, SplitCounts]
    ndcg: list[float]
    prompt_tokens: list[int]


def prepare_dataset(
    source: Source, models: RoundModels, draw: DrawParams, anchor: float, seed: int, key: str
) -> DatasetRows:
    """Draw the questions of one dataset and build their rows.

    Each distinct session is tokenized at most once for each model, and only where its count decides something.

    Args:
        source: the dataset.
        models: the ranker and the working LLM.
        draw: how many questions to take.
        anchor: the preferred NDCG@10.
        seed: of all random choices.
        key: of `draw` in params.yaml, for messages.

    Raises:
        MemSifterError: fewer eligible questions than `draw` takes, a question without coarse scores, or a prompt longer
            than `rank.context_tokens`.
    """
    dataset = source.dataset
    prompts = PromptBuilder(dataset, models.ranker_prompt, models.ranker_tokenizer, models.rank, models.bm25)
    contexts = ContextBuilder(dataset, models.chat_prompt, models.chat_tokenizer, models.chat, models.bm25)
    eligibility = check_questions(dataset, prompts, contexts, models.rank.max_candidates)
    drawn = draw_questions(eligibility, source.rankings, draw, anchor, seed, key)
    items = [*drawn.train, *drawn.test]
    filled = [_fill_prompt(item, source, prompts) for item in items]
    prompt_tokens = [_count_filled(item, prompt, models) for item, prompt in zip(items, filled, strict=True)]
    rows = list(_build_rows(items, filled, source, contexts))
    how = f"near NDCG@{NDCG_K} {anchor:g}" if drawn.method == "anchor" else "at random: the ranker has not ranked them"
    logger.info("%s: %d train questions (%s), %d test questions", source.name, len(drawn.train), how, len(drawn.test))
    return DatasetRows(
        name=source.name,
        kind=source.kind,
        train=rows[: len(drawn.train)],
        test=rows[len(drawn.train) :],
        method=drawn.method,
        counts={split: count_split(split, eligibility, drawn) for split in _drawn_splits(draw)},
        ndcg=[_measure(item, source) for item in drawn.train],
        prompt_tokens=prompt_tokens,
    )


def _drawn_splits(draw: DrawParams) -> list[Split]:
    return [split for split in SPLITS if split == "train" or (draw.test and split == draw.test_split)]


def _fill_prompt(item: EligibleQuestion, source: Source, prompts: PromptBuilder) -> FilledPrompt:
    index = source.dataset.haystack_of(item.question)
    return prompts.fill(item.question, scores_of(item.question, index, source.scores), item.gold)


def _count_filled(item: EligibleQuestion, filled: FilledPrompt, models: RoundModels) -> int:
    """Tokens of the whole prompt, which may differ a little from the sum of its parts."""
    tokens = count_prompt(filled.messages, models.ranker_tokenizer)
    if tokens > models.rank.context_tokens:
        raise MemSifterError(
            f"question {item.question.question_id!r}: its prompt has {tokens} tokens, more than rank.context_tokens "
            f"({models.rank.context_tokens}) although its parts fit; lower rank.max_candidates or rank.session_tokens"
        )
    return tokens


def _build_rows(
    items: Sequence[EligibleQuestion], filled: Sequence[FilledPrompt], source: Source, contexts: ContextBuilder
) -> Iterator[Row]:
    for item, prompt in zip(items, filled, strict=True):
        index = source.dataset.haystack_of(item.question)
        counted = contexts.sessions.count(item.question, index, prompt.candidates)
        sessions = [contexts.sessions.fit(session, item.context_tokens) for session in counted]
        scores = source.scores[item.question.question_id]
        yield build_row(item, index, scores, prompt, sessions, source.name, source.kind)


def _measure(item: EligibleQuestion, source: Source) -> float:
    question = item.question
    if source.rankings is not None:
        return measure_ndcg(question, source.rankings[question.question_id])
    names = source.dataset.haystack_of(question).session_ids
    return measure_ndcg(question, [names[place] for place in order_by_score(source.scores[question.question_id])])
