import asyncio
import logging
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.memory import HashedEncoder
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import build_dataset, load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.datasets.sample.reader import SampleReader
from memsifter.errors import MemSifterError
from memsifter.fusion.combine import FittedWeights, combine_scores
from memsifter.io.files import write_table
from memsifter.io.paths import ROOT
from memsifter.metrics.retrieval import order_by_score
from memsifter.ranking.candidates import load_coarse_scores
from memsifter.ranking.weight import RankFusion
from memsifter.retrieval.catalogue import computed_scores, method_scores, needed_units
from memsifter.retrieval.embedder import embed_texts
from memsifter.retrieval.embedding_tables import write_embeddings
from memsifter.retrieval.embeddings import load_embeddings
from memsifter.retrieval.score_lists import ScoreLists
from memsifter.retrieval.scores import score_questions
from memsifter.sifter.encoder import TextEncoder, encode_missing
from memsifter.sifter.inputs import HAYSTACK
from memsifter.sifter.ranker import Ranker
from memsifter.sifter.settings import WEIGHTS_FILE, SifterSettings, method_weights
from memsifter.sifter.sifter import Sifter
from memsifter.sifter.vector_store import SearchVectors, VectorStore

SESSIONS = [
    {"id": "cat", "date": "2024-05-20", "turns": [{"role": "user", "content": "My cat Momo is ill."}]},
    {"id": "bike", "date": "2023-03-01", "turns": [{"role": "user", "content": "I bought a red bicycle in Turin."}]},
    {"id": "soup", "turns": [{"role": "user", "content": "How do I cook lentils?"}]},
]
# Weights of every sign, so that each score decides something.
WEIGHTS = FittedWeights(
    "fitted",
    {name: round(random.Random(name).uniform(-0.3, 1.0), 4) for name in SifterSettings().retrieval.scores},
    30.0,
    {},
    {},
    None,
)


def run_stages(
    directory: Path, records: list[Any], encoder: TextEncoder, settings: SifterSettings
) -> dict[str, tuple[list[str], list[float]]]:
    """Stages `data` to `order` with their files: the ids of the sessions in coarse order, and their scores."""
    write_dataset(records, directory / "data")
    dataset = load_dataset(directory / "data")
    vectors = SearchVectors(VectorStore())
    tables = embed_texts(dataset, encoder.reader, vectors, lambda texts: encode_missing(texts, vectors, encoder))
    write_embeddings(directory / "embeddings", tables.settings, tables.units, tables.questions)
    names = computed_scores(settings.retrieval)
    embedded = load_embeddings(directory / "embeddings", dataset, needed_units(names), "m3_lexical" in names)
    write_table(directory / "scores", score_questions(dataset, embedded, settings.retrieval).to_table())
    kept = dict.fromkeys((*method_scores(settings.retrieval), *WEIGHTS.weights))
    lists = ScoreLists.read(directory / "scores", kept)
    methods = combine_scores(lists, settings.retrieval, WEIGHTS.weights)
    coarse = {"coarse": methods[settings.retrieval.fusion]}
    write_table(directory / "orders", ScoreLists(lists.question_ids, lists.offsets, coarse).to_table())
    scores = load_coarse_scores(directory / "orders")
    ranked = {}
    for question in dataset.questions:
        ids, found = dataset.haystack_of(question).session_ids, scores[question.question_id]
        order = order_by_score(found)
        ranked[question.question_id] = ([ids[place] for place in order], [float(found[place]) for place in order])
    return ranked


def check_equal(sifter: Sifter, haystack: Haystack, questions: list[Question], ranked: dict[str, Any]) -> None:
    """Asked one by one and all together, the sifter gives the order and the scores of the stages."""
    texts, dates = [q.question for q in questions], [q.question_date for q in questions]
    every = len(haystack.sessions)
    for question, together in zip(questions, sifter.sift_many(texts, haystack.sessions, dates, every), strict=True):
        alone = sifter.sift(question.question, haystack.sessions, question.question_date, every)
        for found in (alone, together):
            ids, scores = [session.id for session in found], [session.score for session in found]
            assert (ids, scores) == ranked[question.question_id], question.question


@pytest.mark.parametrize("fusion", ["fitted", "hand_weighted", "dense", "lexical"])
def test_the_order_is_that_of_the_stages(
    fusion: Any, sample: tuple[Haystack, list[Question]], encoder: HashedEncoder, tmp_path: Path
) -> None:
    haystack, questions = sample
    default = SifterSettings()
    settings = replace(default, retrieval=default.retrieval.model_copy(update={"fusion": fusion}))
    ranked = run_stages(tmp_path, [haystack, *questions], encoder, settings)
    with Sifter(encoder, settings, WEIGHTS) as sifter:
        check_equal(sifter, haystack, questions, ranked)


def check_collection(records: list[Any], per_haystack: int, encoder: HashedEncoder, directory: Path) -> None:
    """With a dataset as its collection, a sifter orders the sessions of one haystack as the stages do in the whole."""
    haystacks = [record for record in records if isinstance(record, Haystack)]
    asked = {
        haystack.haystack_id: [r for r in records if isinstance(r, Question) and r.haystack_id == haystack.haystack_id]
        for haystack in haystacks
    }
    asked = {name: questions[:per_haystack] for name, questions in asked.items()}
    ranked = run_stages(directory, [*haystacks, *chain(*asked.values())], encoder, SifterSettings())
    collection = load_dataset(directory / "data")
    with Sifter(encoder, weights=WEIGHTS, collection=collection) as sifter:
        for haystack in haystacks:
            check_equal(sifter, haystack, asked[haystack.haystack_id], ranked)
    first, questions = haystacks[0], asked[haystacks[0].haystack_id]
    with Sifter(encoder, weights=WEIGHTS) as alone:
        texts, dates = [question.question for question in questions], [question.question_date for question in questions]
        found = alone.sift_many(texts, first.sessions, dates)
    scores = [[session.score for session in sessions] for sessions in found]
    whole = [ranked[question.question_id][1][:5] for question in questions]
    assert scores != whole, "it is the collection that does it"


@pytest.mark.slow
def test_with_a_collection_the_order_is_that_of_the_stages_in_the_whole_dataset(
    encoder: HashedEncoder, tmp_path: Path
) -> None:
    records = list(SampleReader(reader="sample", seed=5, haystacks=3, train_fraction=0.0).generate())
    check_collection(records, 10, encoder, tmp_path)


@pytest.mark.slow
def test_on_locomo_the_order_is_that_of_the_stages(shared_data: Path, encoder: HashedEncoder, tmp_path: Path) -> None:
    records = list(read_dataset("locomo", path=str(shared_data / "locomo" / "locomo6.json")))
    check_collection(records, 8, encoder, tmp_path)


def test_a_haystack_of_the_collection_counts_whatever_it_is_called(encoder: HashedEncoder) -> None:
    records = list(SampleReader(reader="sample", seed=5, haystacks=2, train_fraction=0.0).generate())
    own, other = (record for record in records if isinstance(record, Haystack))
    asked = Question("q", "test", "h", "Where did I go on 8 May 2023?", "", "", "none", ())
    scores = []
    for name in ("h", HAYSTACK):  # of one name with that of a call, too
        collection = build_dataset([replace(other, haystack_id=name), replace(asked, haystack_id=name)])
        with Sifter(encoder, weights=WEIGHTS, collection=collection) as sifter:
            scores.append([session.score for session in sifter.sift(asked.question, own.sessions, top_k=100)])
    assert scores[0] == scores[1]


def test_a_collection_is_neither_embedded_nor_found(encoder: HashedEncoder, tmp_path: Path) -> None:
    write_dataset(SampleReader(reader="sample", seed=5, haystacks=2).generate(), tmp_path)
    with Sifter(encoder, collection=load_dataset(tmp_path)) as sifter:
        found = sifter.sift("What is my cat called?", SESSIONS, top_k=100)
    assert {session.id for session in found} == {"cat", "bike", "soup"}
    assert len(encoder.texts) < 10


def test_the_sessions_that_help_come_first_with_what_helps(sifter: Sifter) -> None:
    question = "What is my cat called?"
    best, *others = sifter.sift(question, SESSIONS)
    assert (best.index, best.id, best.date, best.thought) == (0, "cat", "2024-05-20", None)
    assert best.excerpt == "user: My cat Momo is ill."
    assert {session.id for session in others} == {"bike", "soup"}
    assert [session.id for session in sifter.sift("What did I buy in Turin?", SESSIONS, top_k=1)] == ["bike"]
    assert [session.id for session in sifter.sift(question, SESSIONS, min_score=best.score)] == ["cat"]
    assert sifter.sift(question, SESSIONS, min_score=1e9) == []


def test_dates_count_from_the_day_of_the_question(sifter: Sifter) -> None:
    turns = [{"role": "user", "content": "We went hiking."}]
    sessions = [{"id": day, "date": day, "turns": turns} for day in ("2024-05-01", "2024-05-14", "2024-05-19")]
    assert sifter.sift("Where did we go yesterday?", sessions, "2024-05-20", 1)[0].id == "2024-05-19"
    assert sifter.sift("Where did we go yesterday?", sessions, "2024-05-15", 1)[0].id == "2024-05-14"


def test_a_date_of_a_question_that_cannot_be_read_is_told(sifter: Sifter, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sifter.sift("Where did we go yesterday?", SESSIONS, "2024-05-20")
        assert not caplog.records
        assert sifter.sift("Where did we go yesterday?", SESSIONS, "last Tuesday")
    assert "question date unreadable (1), for example: question 'question_1': 'last Tuesday': it does" in caplog.text


def test_the_order_in_which_sessions_are_given_changes_their_index_alone(
    sifter: Sifter, history: list[dict[str, Any]], sample: tuple[Haystack, list[Question]]
) -> None:
    shuffled = random.Random(1).sample(history, len(history))
    for question in sample[1]:
        found = sifter.sift(question.question, shuffled, question.question_date)
        assert [replace(session, index=0) for session in found] == [
            replace(session, index=0) for session in sifter.sift(question.question, history, question.question_date)
        ]
        assert [shuffled[session.index]["id"] for session in found] == [session.id for session in found]


def test_an_excerpt_is_no_longer_than_asked_for(encoder: HashedEncoder, history: list[dict[str, Any]]) -> None:
    with Sifter(encoder, replace(SifterSettings(), excerpt_tokens=30)) as sifter:
        found = sifter.sift("What did I buy?", history, top_k=30)
    lengths = [len(encoder.reader.tokenizer(session.excerpt)["input_ids"]) for session in found]
    assert 15 < np.mean(lengths) <= max(lengths) <= 30


def test_a_session_is_embedded_once_however_often_it_is_given(sifter: Sifter, encoder: HashedEncoder) -> None:
    for question in ("What is my cat called?", "Where is my bike?", "What is my cat called?"):
        sifter.sift(question, SESSIONS)
    assert len(encoder.texts) == len(set(encoder.texts)) == len(SESSIONS) + 2


def test_vectors_in_a_folder_serve_the_next_process(tmp_path: Path, encoder: HashedEncoder) -> None:
    with Sifter(encoder, vectors=str(tmp_path)) as sifter:
        found = sifter.sift("What is my cat called?", SESSIONS)
    later = HashedEncoder()
    with Sifter(later, vectors=tmp_path) as sifter:
        assert sifter.sift("What is my cat called?", SESSIONS) == found
    assert later.texts == []
    assert b"Momo" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_search_keeps_what_it_found_while_others_trim_the_vectors(tmp_path: Path) -> None:
    class TrimmedMeanwhile(HashedEncoder):
        """Embeds while another process drops every vector from the folder."""

        def __call__(self, block: pa.Table) -> pa.Table:
            for path in tmp_path.glob("*.sqlite"):
                VectorStore(path, limit=0).trim()
            return super().__call__(block)

    with Sifter(TrimmedMeanwhile(), vectors=tmp_path) as sifter:
        first = sifter.sift("What is my cat called?", SESSIONS)
        # The sessions' vectors are found in the folder; embedding the new question then drops them there.
        assert [session.id for session in sifter.sift("Where is my bicycle?", SESSIONS, top_k=1)] == ["bike"]
        assert sifter.sift("What is my cat called?", SESSIONS) == first


def test_damaged_vectors_are_one_error_that_says_to_delete_the_file(
    tmp_path: Path, history: list[dict[str, Any]]
) -> None:
    with Sifter(HashedEncoder(), vectors=tmp_path) as sifter:
        found = sifter.sift("What did I buy?", history)
    [file] = tmp_path.glob("*.sqlite")
    content = file.read_bytes()
    file.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    problem = f"{re.escape(str(file))}: .*malformed; it is a cache that is damaged: delete it"
    with Sifter(HashedEncoder(), vectors=tmp_path) as sifter, pytest.raises(MemSifterError, match=problem):
        sifter.sift("What did I buy?", history)
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(MemSifterError, match="file is not a database; it is a cache that is damaged: delete it"):
        Sifter(HashedEncoder(), vectors=tmp_path)
    file.unlink()
    with Sifter(HashedEncoder(), vectors=tmp_path) as sifter:
        assert sifter.sift("What did I buy?", history) == found


def test_several_threads_and_coroutines_get_what_one_gets(sifter: Sifter, history: list[dict[str, Any]]) -> None:
    questions = [f"What about {word}?" for word in ("music", "travel", "work", "dinner", "my sister", "the car")]
    alone = [sifter.sift(question, history) for question in questions]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda question: sifter.sift(question, history), questions)) == alone

    async def ask() -> list[Any]:
        return await asyncio.gather(*(sifter.asift(question, history) for question in questions))

    assert asyncio.run(ask()) == alone


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((" ", SESSIONS), "empty question text"),
        ((5, SESSIONS), "question: expected a text, got int"),
        (("x", SESSIONS, 5), "question_date: expected a text or a date, got a whole number"),
        (("x", SESSIONS, None, 0), "top_k is 0; it must be at least 1"),
        (("x", SESSIONS, None, 1, float("nan")), "min_score is not a number"),
        (("x", [{"turns": 1}]), r"sessions\[0\]: field 'turns': expected a list"),
    ],
)
def test_a_wrong_call_is_one_error(sifter: Sifter, arguments: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(MemSifterError, match=problem):
        sifter.sift(*arguments)
    with pytest.raises(MemSifterError, match="question_dates: 1 for 2 questions"):
        sifter.sift_many(["a", "b"], SESSIONS, [None])


def test_folders_and_files_may_be_texts(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="none: no dataset of a pipeline"):
        Sifter.from_pretrained(collection=str(tmp_path / "none"))
    with pytest.raises(MemSifterError, match="none: no such file"):
        SifterSettings.read(str(tmp_path / "none"))


def test_a_closed_sifter_says_so_in_one_sentence(encoder: HashedEncoder) -> None:
    with Sifter(encoder) as sifter:
        pass
    with pytest.raises(MemSifterError, match="in memory: Cannot operate on a closed database; see that it is open"):
        sifter.sift("x", SESSIONS)


def test_what_a_fusion_needs_is_asked_for_before_work_starts(encoder: HashedEncoder) -> None:
    default = SifterSettings()
    reads = replace(default, retrieval=default.retrieval.model_copy(update={"fusion": "fitted_likelihood"}))
    with pytest.raises(MemSifterError, match="give the LLM that reads sessions"):
        Sifter(encoder, reads)
    with pytest.raises(MemSifterError, match="the weights have one of likelihood; give those of fitted"):
        Sifter(encoder, weights=method_weights(WEIGHTS_FILE, reads.retrieval))
    fitted = default.rank.model_copy(update={"fusion": "fitted"})
    with pytest.raises(MemSifterError, match="there are no train questions here; give the fusion"):
        Ranker(Path("none"), fitted, Path("none"), 7)
    with pytest.raises(MemSifterError, match="that of a coarse order"):
        Ranker(Path("none"), fitted, Path("none"), 7, RankFusion("order"))


def test_importing_the_library_is_cheap() -> None:
    code = (
        "import sys, memsifter\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'pydantic', 'ray', 'transformers', 'openai'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from memsifter import Memory, Sifter, SifterSettings, SiftedAnswer, SiftedSession, MemSifterError\n"
        "assert not {'torch', 'ray', 'vllm', 'mlflow'} & set(sys.modules)\n"
        "assert set(dir(memsifter)) >= {'Sifter', 'Memory'}\n"
        "try: memsifter.nothing\n"
        "except AttributeError: pass\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
