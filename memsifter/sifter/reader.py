"""The LLM that reads the best sessions, in this process: stage `likelihood` without Ray, loaded when first needed."""

import threading
from collections.abc import Sequence
from pathlib import Path

from memsifter.corpus.store import Dataset
from memsifter.fusion.likelihood import join_likelihoods
from memsifter.likelihood.model import LikelihoodReader, ScoredText, max_positions
from memsifter.likelihood.pool import likelihood_table, read_values, text_blocks
from memsifter.likelihood.prompt import load_likelihood_prompt
from memsifter.likelihood.texts import build_texts, require_room
from memsifter.llm.tokens import load_tokenizer
from memsifter.params import RetrievalParams
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.score_lists import ScoreLists


class LocalReader:
    """A causal LM that scores how likely the question is after an excerpt of each of the best sessions.

    A text has the same value whatever is read beside it, so that the values are those of the stage. Methods may be
    called from several threads, which take turns.
    """

    def __init__(self, model: Path, prompt: Path, params: RetrievalParams) -> None:
        """Check the files; the weights are loaded with the first question.

        Args:
            model: Hugging Face directory of a causal LM.
            prompt: the prompt file of the likelihood.
            params: `retrieval` of params.yaml.

        Raises:
            MemSifterError: the model is no causal LM, or the prompt is wrong.
        """
        self._longest = max_positions(model)
        self._tokenizer = load_tokenizer(model)
        self._prompt = load_likelihood_prompt(prompt)
        self._model, self._params = model, params
        self._reader: LikelihoodReader | None = None
        self._lock = threading.Lock()

    def add_likelihoods(self, dataset: Dataset, lists: ScoreLists, lexical: LexicalIndex) -> ScoreLists:
        """The coarse scores with the column `likelihood`.

        Args:
            dataset: the questions and their haystacks.
            lists: their coarse scores.
            lexical: the terms of the dataset.

        Raises:
            MemSifterError: an excerpt and a question are longer than the model reads, or a value is not finite.
        """
        texts = list(build_texts(dataset, lists, self._prompt, self._tokenizer, self._params, lexical))
        require_room(texts, self._model, self._longest)
        values = self._read([text for item in texts for text in item.texts])
        return join_likelihoods(lists, likelihood_table(texts, values), str(self._model))

    def _read(self, texts: Sequence[ScoredText]) -> list[float]:
        """The log-likelihood of each text, in nats; equal ones are read once."""
        keys = {text: str(number) for number, text in enumerate(dict.fromkeys(texts))}
        params = self._params.likelihood
        values: dict[str, float] = {}
        with self._lock:
            if self._reader is None:
                self._reader = LikelihoodReader(str(self._model), params)
            for block in text_blocks({key: text for text, key in keys.items()}, params.batch_tokens):
                values |= read_values(self._reader(block), self._model, params.dtype)
        return [values[keys[text]] for text in texts]
