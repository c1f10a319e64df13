"""What the steps of the pipeline saw of a session: coarse scores, the likelihood's reading, the ranker's excerpt."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.errors import MemSifterError
from memsifter.fusion.likelihood import LIKELIHOOD, add_likelihoods
from memsifter.io.files import sha256_file
from memsifter.io.paths import likelihoods_file, model_directory, orders_file
from memsifter.llm.prompts import plain_text, prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.metrics.retrieval import order_by_score
from memsifter.metrics.summary import order_methods
from memsifter.params import ORDERS, Params
from memsifter.ranking.candidates import PromptBuilder
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)

ShowSessions = Callable[[Question, Sequence[str]], dict[str, str | None]]
"""The texts of candidates (session ids) as a ranker saw them, by session id; None for a session that it saw whole."""

_DIGITS = 4


class CoarseSteps:
    """The coarse scores of a dataset's questions, and the likelihoods where a model read the best sessions.

    Attributes:
        methods: names of the orders, in the order of the pipeline.
        was_read: whether there are likelihoods.
    """

    def __init__(self, params: Params, dataset: str) -> None:
        """Read them.

        Raises:
            MemSifterError: an out is missing or broken.
        """
        self.was_read = dataset in params.retrieval.likelihood.datasets
        self.methods = order_methods(
            (name for name in ORDERS if self.was_read or name != "fitted_likelihood"), params.matrix.rankers
        )
        lists = ScoreLists.read(orders_file(dataset), self.methods)
        self._lists = add_likelihoods(lists, likelihoods_file(dataset)) if self.was_read else lists
        self._places = {name: place for place, name in enumerate(lists.question_ids)}

    def order(self, question: Question, index: HaystackIndex) -> list[str]:
        """Ids of the haystack's sessions in coarse order.

        Raises:
            MemSifterError: the question has no scores, or not one per session.
        """
        return [index.session_ids[place] for place in order_by_score(self._scores(question, index, "coarse"))]

    def describe(self, question: Question, index: HaystackIndex, shown: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Of each shown session: `scores`, [score, rank] by method as in `methods`, and `likelihood` in nats.

        The likelihood is None where the session was not read, and left out where no model read any.
        """
        columns = [self._scores(question, index, name) for name in self.methods]
        ranks = [np.argsort(order_by_score(scores)) + 1 for scores in columns]
        read = self._scores(question, index, LIKELIHOOD) if self.was_read else None
        steps: dict[str, dict[str, Any]] = {}
        for name in shown:
            place = index.session_ids.index(name)
            pairs = zip(columns, ranks, strict=True)
            scores = [[round(float(column[place]), _DIGITS), int(rank[place])] for column, rank in pairs]
            steps[name] = {"scores": scores}
            if read is not None:
                value = float(read[place])
                steps[name]["likelihood"] = None if np.isnan(value) else round(value, _DIGITS)
        return steps

    def _scores(self, question: Question, index: HaystackIndex, name: str) -> NDArray[np.floating[Any]]:
        place = self._places.get(question.question_id)
        offsets = self._lists.offsets
        if place is None or offsets[place + 1] - offsets[place] != len(index.session_ids):
            raise MemSifterError(f"question {question.question_id!r}: its coarse scores are missing; repeat order")
        return self._lists.columns[name][offsets[place] : offsets[place + 1]]


def ranker_views(params: Params, dataset: str, data: Dataset, rankers: Iterable[str]) -> dict[str, ShowSessions]:
    """How each ranker was shown the sessions; without those whose model is not in this checkout, which are logged.

    Rankers with equal tokenizers were shown the same, so they share what was indexed and tokenized.

    Raises:
        MemSifterError: a prompt file or a tokenizer cannot be read.
    """
    prompt_name = params.rank.prompts.of_kind(params.datasets[dataset].kind)
    by_tokenizer: dict[tuple[str, ...], ShowSessions] = {}
    views: dict[str, ShowSessions] = {}
    for ranker in rankers:
        directory = model_directory(ranker)
        if not directory.is_dir():
            logger.warning("no excerpts of %s: its model is not here; `dvc pull models/%s` gets it", ranker, ranker)
            continue
        files = sorted([*directory.glob("tokenizer*"), *directory.glob("chat_template*")])
        key = tuple(f"{path.name} {sha256_file(path)}" for path in files if path.is_file())
        if key not in by_tokenizer:
            prompt = load_ranker_prompt(prompt_path(prompt_name))
            builder = PromptBuilder(data, prompt, load_tokenizer(directory), params.rank, params.retrieval.bm25)
            by_tokenizer[key] = _show_with(builder, data)
        views[ranker] = by_tokenizer[key]
    return views


def _show_with(builder: PromptBuilder, data: Dataset) -> ShowSessions:
    def show(question: Question, candidates: Sequence[str]) -> dict[str, str | None]:
        index = data.haystack_of(question)
        places = [index.session_ids.index(name) for name in candidates]
        sessions = builder.sessions.count(question, index, places)
        if len(sessions) == 1:  # the only case in which a session is cut to the context
            sessions = [builder.sessions.fit(sessions[0], builder.budget(question))]
        texts: dict[str, str | None] = {}
        for name, place, session in zip(candidates, places, sessions, strict=True):
            whole = plain_text(data.text(index.session_keys[place]))
            texts[name] = None if session.text == whole else session.text
        return texts

    return show
