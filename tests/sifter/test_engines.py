"""The real engines: the sifter against the stages' functions on Ray and vLLM."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.memory import HashedEncoder
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.datasets.sample.reader import SampleReader
from memsifter.fusion.combine import combine_scores
from memsifter.fusion.likelihood import add_likelihoods
from memsifter.io.files import write_table
from memsifter.io.paths import cache_directory
from memsifter.io.text_cache import TextCache
from memsifter.likelihood.pool import score_questions as read_questions
from memsifter.likelihood.prompt import load_likelihood_prompt
from memsifter.likelihood.texts import build_texts
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.metrics.retrieval import order_by_score
from memsifter.models import prepare_model
from memsifter.params import ClusterParams, ModelParams
from memsifter.ranking.engine import Response, TokenPrompt, generate_cached
from memsifter.ranking.fusion import decide_fusion
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import build_prompts, read_candidates
from memsifter.ranking.rows import ranking_rows
from memsifter.retrieval.catalogue import computed_scores, needed_units
from memsifter.retrieval.embedder import embed_dataset, embed_texts
from memsifter.retrieval.embeddings import assemble_embeddings
from memsifter.retrieval.scores import score_questions
from memsifter.sifter.coarse import order_sessions
from memsifter.sifter.encoder import encode_missing
from memsifter.sifter.models import DEFAULT_EMBEDDER, find_model
from memsifter.sifter.reader import LocalReader
from memsifter.sifter.settings import WEIGHTS_FILE, SifterSettings, method_weights
from memsifter.sifter.sifter import Sifter
from memsifter.sifter.vector_store import SearchVectors, VectorStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CLUSTER = ClusterParams(num_cpus=2, num_gpus=0)


def test_on_locomo_the_embedder_in_this_process_gives_the_order_of_the_one_on_ray(
    shared_data: Path, tmp_path: Path
) -> None:
    records = list(read_dataset("locomo", path=str(shared_data / "locomo" / "locomo6.json")))
    haystack = min((r for r in records if isinstance(r, Haystack)), key=lambda record: len(record.sessions))
    questions = [r for r in records if isinstance(r, Question) and r.haystack_id == haystack.haystack_id]
    write_dataset([haystack, *questions], tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    settings = SifterSettings()
    tables = embed_dataset(dataset, find_model(DEFAULT_EMBEDDER), cache_directory("vectors"), settings.embed, CLUSTER)
    weights = method_weights(WEIGHTS_FILE, settings.retrieval).weights
    order = order_sessions(dataset, tables, settings.retrieval, weights)
    with Sifter.from_pretrained(device="cpu") as sifter:
        texts, dates = [q.question for q in questions], [q.question_date for q in questions]
        found = sifter.sift_many(texts, haystack.sessions, dates, top_k=len(haystack.sessions))
    for question, sessions in zip(questions, found, strict=True):
        scores = order.scores[question.question_id]
        assert [session.score for session in sessions] == sorted(map(float, scores), reverse=True)
        assert all(session.score == float(scores[session.index]) for session in sessions)


def write_collection(sample: tuple[Haystack, list[Question]], directory: Path) -> Dataset:
    """A dataset of the generated user and another one, of whom one question is asked, after those of the first."""
    haystack, questions = sample
    records = list(SampleReader(reader="sample", seed=4, haystacks=1).generate())
    other = next(record for record in records if isinstance(record, Haystack))
    asked = next(record for record in records if isinstance(record, Question))
    apart: list[Haystack | Question] = [
        replace(other, haystack_id="other"),
        replace(asked, haystack_id="other", question_id="other"),
    ]
    write_dataset([haystack, *questions, *apart], directory)
    return load_dataset(directory)


def test_a_reader_gives_what_stages_likelihood_and_order_give(
    encoder: HashedEncoder, sample: tuple[Haystack, list[Question]], tmp_path: Path
) -> None:
    haystack, questions = sample
    dataset = write_collection(sample, tmp_path / "data")
    model = tmp_path / "reader"
    prepare_model(ModelParams(ref="tiny:7", sha256=None), model)
    default = SifterSettings()
    retrieval = default.retrieval.model_copy(update={"fusion": "fitted_likelihood"})
    settings = replace(default, retrieval=retrieval)
    prompt = prompt_path(retrieval.likelihood.prompt)
    with Sifter(encoder, settings, reader=LocalReader(model, prompt, retrieval), collection=dataset) as sifter:
        texts, dates = [q.question for q in questions], [q.question_date for q in questions]
        found = sifter.sift_many(texts, haystack.sessions, dates, top_k=len(haystack.sessions))
    vectors = SearchVectors(VectorStore())
    tables = embed_texts(dataset, encoder.reader, vectors, lambda new: encode_missing(new, vectors, encoder))
    units = needed_units(computed_scores(retrieval))
    embedded = assemble_embeddings(tables.settings, tables.units, tables.questions, dataset, units, False, "sample")
    lists = score_questions(dataset, embedded, retrieval)
    read = list(build_texts(dataset, lists, load_likelihood_prompt(prompt), load_tokenizer(model), retrieval))
    cache = TextCache(tmp_path / "likelihoods")
    write_table(tmp_path / "likelihood", read_questions(read, model, cache, retrieval.likelihood, CLUSTER))
    weights = method_weights(WEIGHTS_FILE, retrieval).weights
    methods = combine_scores(add_likelihoods(lists, tmp_path / "likelihood"), retrieval, {}, weights)
    scores = np.split(methods["fitted_likelihood"].astype(np.float32), lists.offsets[1:-1])
    for sessions, expected in zip(found, scores[: len(found)], strict=True):
        assert [session.index for session in sessions] == order_by_score(expected)
        assert [session.score for session in sessions] == sorted(map(float, expected), reverse=True)


def test_a_ranker_gives_what_stage_rank_gives(
    tiny_embedder: Path, sample: tuple[Haystack, list[Question]], tmp_path: Path
) -> None:
    haystack, questions = sample
    dataset = write_collection(sample, tmp_path / "data")
    model = tmp_path / "ranker"
    prepare_model(ModelParams(ref="tiny:7", sha256=None), model)
    default = SifterSettings()
    # Thoughts are sampled, so that they show whether seeds, prompts and grammar are the same; then numbers are scored.
    sampling = {"temperature": 1.0, "think_chars": 40, "max_tokens": 60, "scores": "first_number", "fusion": 0.5}
    shown = {"view": "excerpt", "session_tokens": 40, "max_candidates": 6, "context_tokens": 1900}
    rank = default.rank.model_copy(update=sampling | shown)
    settings = replace(default, rank=rank)
    prompt = load_ranker_prompt(prompt_path(rank.prompts.chat))
    with Sifter.from_pretrained(
        model, embedder=tiny_embedder, settings=settings, collection=tmp_path / "data"
    ) as sifter:
        texts, dates = [q.question for q in questions], [q.question_date for q in questions]
        found = sifter.sift_many(texts, haystack.sessions, dates, top_k=len(haystack.sessions))
        again = sifter.sift(texts[0], haystack.sessions, dates[0], top_k=3)
    assert again == found[0][:3]
    tables = embed_dataset(dataset, tiny_embedder, tmp_path / "vectors", settings.embed, CLUSTER)
    weights = method_weights(WEIGHTS_FILE, settings.retrieval).weights
    scores = dict(order_sessions(dataset, tables, settings.retrieval, weights).scores)
    tokenizer = load_tokenizer(model)
    prompts = build_prompts(dataset, scores, prompt, tokenizer, rank, settings.retrieval.bm25, settings.seed)
    cache = TextCache(tmp_path / "responses")

    def ask(sent: Sequence[TokenPrompt]) -> dict[str, Response]:
        return generate_cached(sent, model, cache, rank, CLUSTER, settings.seed)

    readings = read_candidates(prompts, ask, tokenizer, prompt.base, rank)
    rows = list(ranking_rows(prompts, readings, dataset, scores, rank, decide_fusion(rank, (), dataset)))[: len(found)]
    assert [[session.id for session in sessions] for sessions in found] == [row["ranking"] for row in rows]
    for sessions, row in zip(found, rows, strict=True):
        said, closed, _ = row["response"].partition("</think>")
        assert sessions[0].thought == (said.removeprefix("<think>").strip() if closed else "")
    assert any(sessions[0].thought for sessions in found)
