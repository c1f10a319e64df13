"""The sifter against the pipeline, question by question: python -m bench.equality FILE.

FILE is LoCoMo's raw layout, and all of its conversations are one dataset. Each of its questions is asked of the stages'
functions, which embed on Ray; of `Sifter.sift_many` in this process; and of a running `memsifter serve` by `/v1/sift`.
The last two are given the sessions of one conversation and the dataset as their `collection`, since a whole dataset
decides which words are rare. All three must give every session the same score, to the last bit of float32, and so the
same order. Exit code 1 where they do not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import httpx2
from tqdm import tqdm

from bench.serving import serving
from memsifter.command import command
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.io.paths import cache_directory
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import ClusterParams
from memsifter.retrieval.embedder import embed_dataset
from memsifter.sifter.coarse import order_sessions
from memsifter.sifter.models import DEFAULT_EMBEDDER, find_model
from memsifter.sifter.settings import WEIGHTS_FILE, SifterSettings, method_weights
from memsifter.sifter.sifter import Sifter

Found = list[tuple[str, float]]
"""The sessions of one question, best first: id and score."""


def main() -> None:
    """Ask all three and print how many questions agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="LoCoMo's raw layout")
    parser.add_argument("--haystacks", type=int, help="the first so many conversations (default: all)")
    options = parser.parse_args()
    with command(), tempfile.TemporaryDirectory(prefix="memsifter-bench-") as folder:
        records = list(read_dataset("locomo", path=str(options.file)))
        haystacks = [record for record in records if isinstance(record, Haystack)][: options.haystacks]
        asked = {item.haystack_id: _questions(records, item.haystack_id) for item in haystacks}
        collection = Path(folder) / "dataset"
        write_dataset([*haystacks, *chain.from_iterable(asked.values())], collection)
        embedder = find_model(DEFAULT_EMBEDDER)
        expected = _by_stages(collection, embedder)
        differing: dict[str, list[str]] = {"Sifter": [], "/v1/sift": []}
        with (
            Sifter.from_pretrained(device="cpu", collection=collection) as sifter,
            serving(["--embedder", str(embedder), "--collection", str(collection)]) as url,
        ):
            for haystack in haystacks:
                questions = asked[haystack.haystack_id]
                ways = {
                    "Sifter": _by_sifter(sifter, haystack, questions),
                    "/v1/sift": _by_http(url, haystack, questions),
                }
                for way, found in ways.items():
                    for question, other in zip(questions, found, strict=True):
                        if expected[question.question_id] != other:
                            differing[way].append(question.question_id)
    for way, names in differing.items():
        exceptions = f", not {', '.join(names)}" if names else ""
        print(f"{way}: {len(expected) - len(names)} of {len(expected)} questions as the pipeline{exceptions}")
    sys.exit(1 if any(differing.values()) else 0)


def _questions(records: Sequence[object], haystack_id: str) -> list[Question]:
    return [item for item in records if isinstance(item, Question) and item.haystack_id == haystack_id]


def _by_stages(directory: Path, embedder: Path) -> dict[str, Found]:
    """What stages `embed`, `score` and `order` give, by question id, with the weights that ship with the package."""
    settings = SifterSettings()
    dataset = load_dataset(directory)
    cluster = ClusterParams(num_cpus=2, num_gpus=0)
    tables = embed_dataset(dataset, embedder, cache_directory("vectors"), settings.embed, cluster)
    weights = method_weights(WEIGHTS_FILE, settings.retrieval).weights
    scores = order_sessions(dataset, tables, settings.retrieval, weights).scores
    found = {}
    for question in dataset.questions:
        ids, row = dataset.haystack_of(question).session_ids, scores[question.question_id]
        found[question.question_id] = [(ids[place], float(row[place])) for place in order_by_score(row)]
    return found


def _by_sifter(sifter: Sifter, haystack: Haystack, questions: list[Question]) -> list[Found]:
    texts, dates = [item.question for item in questions], [item.question_date for item in questions]
    found = sifter.sift_many(texts, haystack.sessions, dates, top_k=len(haystack.sessions))
    return [[(session.id, session.score) for session in sessions] for sessions in found]


def _by_http(url: str, haystack: Haystack, questions: list[Question]) -> list[Found]:
    sessions = [
        {
            "id": session.session_id,
            "date": session.date,
            "turns": [{"role": turn.role, "content": turn.content} for turn in session.turns],
        }
        for session in haystack.sessions
    ]
    found = []
    with httpx2.Client(base_url=url, timeout=300, trust_env=False) as client:
        for question in tqdm(questions, desc=haystack.haystack_id, unit="question", disable=None):
            body = {"question": question.question, "question_date": question.question_date or None}
            reply = client.post("/v1/sift", json=body | {"sessions": sessions, "top_k": len(sessions)})
            reply.raise_for_status()
            found.append([(row["id"], row["score"]) for row in reply.json()["sessions"]])
    return found


if __name__ == "__main__":
    main()
