"""The sifter: which of a user's past sessions help with a question, and an LLM's answer from them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from memsifter.corpus.store import Dataset, load_dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.combine import FittedWeights
from memsifter.ranking.weight import RankFusion
from memsifter.retrieval.encoder import EncoderFiles
from memsifter.sifter.answers import answer_question, endpoint_params
from memsifter.sifter.encoder import LocalEncoder, TextEncoder
from memsifter.sifter.inputs import read_sessions
from memsifter.sifter.models import DEFAULT_EMBEDDER, Reference, find_model
from memsifter.sifter.ranker import Ranker
from memsifter.sifter.reader import LocalReader
from memsifter.sifter.results import SiftedAnswer, SiftedSession
from memsifter.sifter.search import Date, Found, Prepared, Searcher
from memsifter.sifter.settings import PROMPTS_DIRECTORY, WEIGHTS_FILE, SifterSettings, method_weights
from memsifter.sifter.vector_store import VectorStore

Device = Literal["cpu", "cuda"]


class Sifter:
    """Finds the few of a user's past sessions that help with a question.

    Without a ranker it is the coarse filter; with one, what stage `rank` gives for the same parameters. Which words are
    rare is decided by the sessions of the call and of the `collection`, as it is by those of a dataset in the pipeline.
    Methods may be called from several threads at once. Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        settings: SifterSettings | None = None,
        weights: FittedWeights | None = None,
        ranker: Ranker | None = None,
        vectors: Path | str | None = None,
        reader: LocalReader | None = None,
        collection: Dataset | None = None,
    ) -> None:
        """`from_pretrained` makes the parts.

        Args:
            encoder: embeds questions and sessions.
            settings: the parameters; None for the defaults.
            weights: of `retrieval.fusion: fitted` or `fitted_likelihood`; None for those that ship with the package.
            ranker: orders the best sessions; None leaves them in coarse order.
            vectors: a folder that keeps embeddings for later processes, by the hash of their text; None keeps them in
                memory. It holds no text, but what a text is about can be guessed from its embedding.
            reader: reads the best sessions, for `retrieval.fusion: fitted_likelihood`, which needs it.
            collection: sessions that decide with those of a call which words and dates are rare; they are never found,
                embedded or shown. With the dataset of a pipeline, a call with the sessions of one of its haystacks
                gives what the pipeline gives; a user with few sessions gains from those of others.

        Raises:
            MemSifterError: `retrieval.fusion`, the weights and the reader do not fit together.
        """
        self.settings = settings or SifterSettings()
        self.encoder = encoder
        self._ranker = ranker
        name = f"{encoder.reader.fingerprint[:16]}.sqlite"
        self._vectors = VectorStore(None if vectors is None else Path(vectors) / name)
        weighed = (weights or method_weights(WEIGHTS_FILE, self.settings.retrieval)).weights
        self._searcher = Searcher(encoder, self.settings, weighed, ranker, self._vectors, reader, collection)

    @classmethod
    def from_pretrained(
        cls,
        path_or_ref: Reference | None = None,
        *,
        embedder: Reference = DEFAULT_EMBEDDER,
        reader: Reference | None = None,
        device: Device | None = None,
        settings: SifterSettings | None = None,
        weights: FittedWeights | None = None,
        fusion: RankFusion | None = None,
        vectors: Path | str | None = None,
        collection: Path | str | None = None,
    ) -> Self:
        """A sifter of these models.

        Args:
            path_or_ref: the ranker: a folder, such as `models/round1` of a pipeline, or a reference (`hf:…`, `pypi:…`).
                vLLM then serves it on loopback until `close`. None: the coarse filter alone.
            embedder: the embedder, in the same forms.
            reader: the LLM that reads the best sessions, in the same forms; for `retrieval.fusion: fitted_likelihood`.
            device: where they run; None leaves it to the settings, which say the CPU by default.
            settings: the parameters; `SifterSettings.read(Path("params.yaml"))` takes those of a pipeline.
            weights: as in `Sifter`.
            fusion: what stage `rank` has fitted (`memsifter.ranking.weight.read_rank_fusion`); None: as `rank.fusion`
                of the settings says, which must not be `fitted` then.
            vectors: as in `Sifter`.
            collection: the folder of a pipeline's dataset, such as `data/processed/locomo`; as in `Sifter`.

        Raises:
            MemSifterError: as in `Sifter`, a model or the collection cannot be used, or the ranker's server does not
                start.
        """
        others = None if collection is None else _load_collection(Path(collection))
        settings = _on_device(settings or SifterSettings(), device)
        encoder = LocalEncoder(EncoderFiles(find_model(embedder), settings.embed))
        reading = None
        if reader is not None:
            likelihood = PROMPTS_DIRECTORY / f"{settings.retrieval.likelihood.prompt}.yaml"
            reading = LocalReader(find_model(reader), likelihood, settings.retrieval)
        ranker = None
        if path_or_ref is not None:
            prompt = PROMPTS_DIRECTORY / f"{settings.rank.prompts.chat}.yaml"
            ranker = Ranker(find_model(path_or_ref), settings.rank, prompt, settings.seed, fusion)
        try:
            return cls(encoder, settings, weights, ranker, vectors, reading, others)
        except BaseException:
            if ranker is not None:
                ranker.close()
            raise

    def sift(
        self,
        question: str,
        sessions: Any,
        question_date: Date = None,
        top_k: int = 5,
        min_score: float | None = None,
    ) -> list[SiftedSession]:
        """The sessions that help with a question, best first.

        Args:
            question: its text.
            sessions: the user's past sessions, in any of the forms of `memsifter.sifter.inputs`.
            question_date: when it is asked; "last week" counts from there.
            top_k: the most sessions to give back.
            min_score: leaves out those whose score is lower.

        Raises:
            MemSifterError: a session or the question is malformed; the message names the place.
        """
        return self.sift_many([question], sessions, [question_date], top_k, min_score)[0]

    def sift_many(
        self,
        questions: Sequence[str],
        sessions: Any,
        question_dates: Sequence[Date] | None = None,
        top_k: int = 5,
        min_score: float | None = None,
    ) -> list[list[SiftedSession]]:
        """`sift` for several questions about the same sessions, which are read once; a list for each question.

        Raises:
            MemSifterError: as in `sift`, or not one date for each question.
        """
        dates = [None] * len(questions) if question_dates is None else list(question_dates)
        if len(dates) != len(questions):
            raise MemSifterError(f"question_dates: {len(dates)} for {len(questions)} questions; give one for each")
        read = read_sessions(sessions)
        if not questions:
            return []
        return list(self._searcher.search(read, list(zip(questions, dates, strict=True)), top_k, min_score).sessions)

    async def asift(
        self,
        question: str,
        sessions: Any,
        question_date: Date = None,
        top_k: int = 5,
        min_score: float | None = None,
    ) -> list[SiftedSession]:
        """`sift` in a thread, for code that is async."""
        return await asyncio.to_thread(self.sift, question, sessions, question_date, top_k, min_score)

    def answer(
        self,
        question: str,
        sessions: Any,
        question_date: Date = None,
        *,
        base_url: str | None = None,
        model: str | None = None,
        api_key_env: str | None = None,
        top_k: int | None = None,
    ) -> SiftedAnswer:
        """Sift, and let an LLM answer from the best sessions. In code that is async: `aanswer`.

        Args:
            question: its text.
            sessions: as in `sift`.
            question_date: as in `sift`.
            base_url: an OpenAI-compatible endpoint, `http://host:port/v1`; None for that of the settings.
            model: its name there; None for that of the settings.
            api_key_env: the environment variable with the key; an endpoint on this machine needs none.
            top_k: the most sessions that the LLM is shown; None for `chat.max_sessions`.

        Raises:
            MemSifterError: as in `sift`, there is no key, or the endpoint gave no answer.
        """
        read = read_sessions(sessions)
        return self.answer_prepared(read, (question, question_date), None, base_url, model, api_key_env, top_k)

    async def aanswer(self, question: str, sessions: Any, question_date: Date = None, **options: Any) -> SiftedAnswer:
        """`answer` in a thread, for code that is async."""
        return await asyncio.to_thread(self.answer, question, sessions, question_date, **options)

    def search_prepared(
        self, sessions: Any, asked: tuple[str, Date], top_k: int, min_score: float | None, prepared: Prepared | None
    ) -> Found:
        """What `memsifter.sifter.search.Searcher.search` finds for one question; `Memory` calls it."""
        return self._searcher.search(sessions, [asked], top_k, min_score, prepared)

    def answer_prepared(
        self,
        sessions: Any,
        asked: tuple[str, Date],
        prepared: Prepared | None,
        base_url: str | None,
        model: str | None,
        api_key_env: str | None,
        top_k: int | None,
    ) -> SiftedAnswer:
        """`answer` for sessions that are read and prepared; `Memory` calls it."""
        chat = endpoint_params(self.settings.chat, base_url, model, api_key_env, top_k)
        found = self._searcher.search(sessions, [asked], chat.max_sessions, None, prepared)
        return answer_question(found, chat, self._searcher.tokenizer, self.settings.seed)

    def close(self) -> None:
        """Stop the ranker's server, and close the store of embeddings."""
        if self._ranker is not None:
            self._ranker.close()
        self._vectors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _on_device(settings: SifterSettings, device: Device | None) -> SifterSettings:
    if device is None:
        return settings
    if device not in ("cpu", "cuda"):
        raise MemSifterError(f"device is {device!r}; it must be cpu or cuda")
    engine = settings.rank.engine.model_copy(update={"device": device})
    gpus = {"gpus_per_worker": 1.0 if device == "cuda" else 0.0}
    likelihood = settings.retrieval.likelihood.model_copy(update=gpus)
    return replace(
        settings,
        embed=settings.embed.model_copy(update=gpus),
        retrieval=settings.retrieval.model_copy(update={"likelihood": likelihood}),
        rank=settings.rank.model_copy(update={"engine": engine}),
    )


def _load_collection(folder: Path) -> Dataset:
    if not (folder / "sessions.parquet").is_file():
        raise MemSifterError(
            f"{folder}: no dataset of a pipeline (collection); give a folder such as data/processed/locomo"
        )
    return load_dataset(folder)
