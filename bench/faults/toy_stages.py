"""The stages that need no model, on a toy dataset, with one of their inputs damaged."""

import json
import math
import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from scored_datasets import EMBEDDING_SETTINGS, embed_toy, make_question, make_session

from bench.faults.damage import NUMBERS, TABLES, damage_bytes, damage_table
from memsifter.chat.answers import ANSWERS_SCHEMA
from memsifter.corpus.sessions import Haystack
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.files import read_json, read_parquet, sha256_file, write_parquet, write_table
from memsifter.metrics.answers import answer_metrics
from memsifter.params import Params, parse_params
from memsifter.params.load import PARAMS_FILE, read_yaml
from memsifter.ranking.rows import RANKINGS_SCHEMA
from memsifter.ranking.weight import RankFusion, write_rank_fusion
from memsifter.retrieval.embedding_tables import write_embeddings
from stages import evaluate, evaluate_coarse, fit_fusion, order, score

_TOY = "toy"


@dataclass(frozen=True)
class Case:
    """A stage and one of the files that it reads.

    Attributes:
        stage: its name.
        file: relative to the root.
        numbers: whether every number in it counts, so that one that is not finite must be seen.
        rows: whether every row counts. Questions, haystacks and sessions are the source: fewer are another dataset;
            of a session's units one may be left out.
        then: the next stage, which must refuse what this one cannot know to be wrong, or need none of it.
    """

    stage: str
    file: str
    numbers: bool = False
    rows: bool = True
    then: str = ""


CASES = (
    *(
        Case("score", f"data/processed/toy/{name}.parquet", rows=False)
        for name in ("questions", "haystacks", "sessions")
    ),
    Case("score", "data/embeddings/toy/units.parquet", numbers=True, rows=False),
    Case("score", "data/embeddings/toy/questions.parquet", numbers=True),
    Case("score", "data/embeddings/toy/embeddings.json"),
    Case("fit_fusion", "data/scores/toy.parquet", numbers=True),
    Case("fit_fusion", "data/processed/toy/haystacks.parquet", rows=False),
    Case("order", "data/scores/toy.parquet", numbers=True, then="evaluate_coarse"),
    Case("order", "data/fusion/weights.json", numbers=True),
    Case("evaluate_coarse", "data/orders/toy.parquet", numbers=True),
    Case("evaluate_coarse", "data/processed/toy/questions.parquet", rows=False),
    Case("evaluate", "data/rankings/base/toy.parquet"),
    Case("evaluate", "data/rankings/base/toy.json", numbers=True),
    Case("evaluate", "data/answers/base/toy.parquet", numbers=True),
)
_OUTS = {
    "score": "data/scores",
    "fit_fusion": "data/fusion",
    "order": "data/orders",
    "evaluate_coarse": "results/orders",
    "evaluate": "results/base",
}


def make_outs(root: Path) -> Path:
    """Write all inputs and outs of the stages below `root`."""
    words = ("apple", "river", "violin", "garden", "winter", "letter")
    haystacks = [
        Haystack(
            f"h{number}",
            tuple(
                make_session(f"s{number}{word}", f"2023-05-1{place}", f"I like {word} {number}", "Yes")
                for place, word in enumerate(words)
            ),
        )
        for number in range(4)
    ]
    questions = [
        make_question(f"q{number}{word}", f"h{number}", f"Who likes {word}?", (f"s{number}{word}",), split)
        for number in range(4)
        for word, split in zip(words, ("train", "test") * 3, strict=True)
    ]
    write_dataset([*haystacks, *questions], root / "data" / "processed" / _TOY)
    dataset = load_dataset(root / "data" / "processed" / _TOY)
    write_embeddings(root / "data" / "embeddings" / _TOY, EMBEDDING_SETTINGS, *embed_toy(dataset))
    rankings: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for question in dataset.questions:
        row = dict.fromkeys(RANKINGS_SCHEMA.names)
        rankings.append(
            row | {"question_id": question.question_id, "ranking": list(dataset.haystack_of(question).session_ids)}
        )
        row = dict.fromkeys(ANSWERS_SCHEMA.names)
        scores = answer_metrics("an apple", "an apple", question.category)
        answers.append(row | {"question_id": question.question_id, "answer": "an apple", "scores": scores})
    write_parquet(root / "data" / "rankings" / "base" / "toy.parquet", rankings, RANKINGS_SCHEMA)
    write_rank_fusion(root / "data" / "rankings" / "base" / "toy.json", RankFusion("fitted", 0.5))
    write_parquet(root / "data" / "answers" / "base" / "toy.parquet", answers, ANSWERS_SCHEMA)
    for stage in _OUTS:
        _run(stage, root)
    return root


def run_case(case: Case, good: Path, root: Path, rng: random.Random) -> tuple[str, Path, bool | MemSifterError]:
    """Damage the case's file in a copy of `good` and run the stage.

    Returns:
        The damage, the file, and whether the outs are those without damage, or the refusal.
    """
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(good, root)
    path = root / case.file
    damage = _damage(case, path, rng)
    shutil.rmtree(root / _OUTS[case.stage])
    try:
        _run(case.stage, root)
        same = _same(case.stage, root, good)
        if not same and case.then:
            shutil.rmtree(root / _OUTS[case.then])
            _run(case.then, root)
            same = _same(case.then, root, good)
    except MemSifterError as error:
        return damage, path, error
    return damage, path, same


def _damage(case: Case, path: Path, rng: random.Random) -> str:
    damages = [*TABLES[: 3 if not case.rows else None], *(NUMBERS if case.numbers else ())]
    if rng.random() < 0.4:
        damage, content = damage_bytes(path.read_bytes(), rng)
        path.write_bytes(content)
    elif path.suffix == ".json":
        damage = _damage_json(path, rng)
    elif rng.random() < 0.1:
        damage = "a folder in its place"
        path.unlink()
        path.mkdir()
    else:
        damage = rng.choice(damages)
        write_table(path, damage_table(read_parquet(path), damage, rng))
    return damage


def _damage_json(path: Path, rng: random.Random) -> str:
    values = read_json(path)
    key = rng.choice(sorted(values))
    new: Any = rng.choice([None, "text", [], {}, -1, math.nan, {"odd": "x"}, [1]])
    if rng.random() < 0.2:
        values = rng.choice([[], None, 5, "text"])
    elif rng.random() < 0.2:
        del values[key]
    else:
        values[key] = new
    path.write_text(json.dumps(values))
    return f"{key} is {new!r}"


def _run(stage: str, root: Path) -> None:
    mains: dict[str, Callable[[Params], Any]] = {
        "score": lambda params: score.main(params, _TOY),
        "fit_fusion": fit_fusion.main,
        "order": lambda params: order.main(params, _TOY),
        "evaluate_coarse": lambda params: evaluate_coarse.main(params, _TOY),
        "evaluate": lambda params: evaluate.main(params, "base", _TOY),
    }
    with mock.patch.object(paths, "ROOT", root):
        mains[stage](_parameters())


def _parameters() -> Params:
    values = deepcopy(read_yaml(PARAMS_FILE))
    values["datasets"] = {_TOY: {"reader": "jsonl", "path": "toy.jsonl", "watch": "toy.jsonl"}}
    values["matrix"] = {"datasets": [_TOY], "rankers": ["base"]}
    values["rounds"] = {}
    values["retrieval"]["fit"]["datasets"] = [_TOY]
    off = {"datasets": [], "watch": "data/README.md"}
    values["retrieval"] |= {"fusion": "fitted", "likelihood": values["retrieval"]["likelihood"] | off}
    values["retrieval"]["scores"] = ["dense_chunk_max", "lexical_session", "lexical_phrase", "length"]
    values["retrieval"]["bm25"]["window_turns"] = 2
    values["evaluate"]["bootstrap_samples"] = 100
    return parse_params(values)


def _same(stage: str, root: Path, good: Path) -> bool:
    return _hash(root / _OUTS[stage]) == _hash(good / _OUTS[stage])


def _hash(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): sha256_file(path) for path in sorted(root.rglob("*")) if path.is_file()}
