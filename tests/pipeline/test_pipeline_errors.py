"""Wrong input through `dvc repro`: one line that names the cause, a failing exit code, and no partial out."""

import hashlib
import json
from pathlib import Path

import pytest
from pipeline_clone import Clone, make_clone

from memsifter.corpus.store import load_dataset

pytestmark = pytest.mark.slow

GOOD = [
    {
        "question_id": "q",
        "question": "Who?",
        "answer": "Ada",
        "answer_session_ids": ["s"],
        "haystack_session_ids": ["s"],
        "haystack_dates": ["May"],
        "haystack_sessions": [[{"role": "user", "content": "Ada came."}]],
    }
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return make_clone(tmp_path_factory.mktemp("clone"))


def error_of(clone: Clone, target: str) -> str:
    """The one line that a failing stage prints."""
    done = clone.run("dvc", "repro", "--single-item", target)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("memsifter: error: ")]
    assert len(lines) == 1, done.stdout
    return lines[0]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "README.md"] if folder.is_dir() else []


def test_a_wrong_parameter_stops_every_stage_before_it_works(clone: Clone) -> None:
    clone.compose("profile=smoke")
    params = clone.root / "params.yaml"
    params.write_text(params.read_text().replace("  candidate_order: similarity", "  candidate_order: random"))
    expected = "params.yaml: rank.candidate_order: Input should be 'chronological' or 'similarity', got 'random'"
    assert expected in error_of(clone, "data@sample")
    assert leftovers(clone.root / "data" / "processed") == []


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        (json.dumps(GOOD)[:-20], (), "mine.json"),
        (json.dumps(GOOD), (f"+datasets.flat.sha256={'0' * 64}",), "expected 0000"),
        (json.dumps([{**GOOD[0], "answer_session_ids": ["other"]}]), (), "gold session(s) ['other']"),
    ],
    ids=["truncated", "wrong-sha256", "unknown-gold"],
)
def test_a_wrong_dataset_file(
    clone: Clone, tmp_path: Path, content: str, overrides: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    clone.compose("profile=smoke", "dataset=flat", f"datasets.flat.path={path}", *overrides)
    assert message in error_of(clone, "data@flat")
    assert leftovers(clone.root / "data" / "processed") == []


def test_a_missing_dataset_file_is_named_by_dvc(clone: Clone, tmp_path: Path) -> None:
    clone.compose("profile=smoke", "dataset=flat", f"datasets.flat.path={tmp_path / 'mine.json'}")
    done = clone.run("dvc", "repro", "--single-item", "data@flat")
    assert done.returncode != 0
    assert "mine.json" in next(line for line in done.stdout.splitlines() if line.startswith("ERROR"))
    assert leftovers(clone.root / "data" / "processed") == []


def test_the_same_file_is_fine_when_it_is_whole(clone: Clone, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    clone.compose("profile=smoke", "dataset=flat", f"datasets.flat.path={path}", f"+datasets.flat.sha256={sha256}")
    clone.check("dvc", "repro", "--single-item", "data@flat")
    assert (clone.root / "data/processed/flat/questions.parquet").is_file()


def test_an_edited_file_is_read_again(clone: Clone, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD))
    clone.compose("profile=smoke", "dataset=flat", f"datasets.flat.path={path}")
    for rows in (GOOD, [*GOOD, {**GOOD[0], "question_id": "q2"}]):
        path.write_text(json.dumps(rows))
        clone.check("dvc", "repro", "--single-item", "data@flat")
        assert len(load_dataset(clone.root / "data/processed/flat").questions) == len(rows)


def test_a_model_reference_that_is_not_understood(clone: Clone) -> None:
    overrides = ("profile=smoke", "models.base.ref=hf:no/such@x y", "models.base.sha256=null")
    before = (clone.root / "params.yaml").read_bytes()
    done = clone.run("python", "-m", "memsifter", "compose", *overrides)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert "is not understood; use path:DIR" in line
    assert (clone.root / "params.yaml").read_bytes() == before
    assert leftovers(clone.root / "models") == []
