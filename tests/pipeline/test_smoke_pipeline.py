"""The whole pipeline with the real engines: `dvc repro` of the smoke profile in copies of this repository.

The tests of this file are one story, told in order: a first run that is killed while it trains and goes on, what came
out, what runs again after a change, and that a second clone arrives at the same bytes.
"""

import csv
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from mlflow.tracking import MlflowClient
from pipeline_clone import UNTRAINED_STAGES, Clone, make_clone, stages_run

from memsifter.corpus.store import load_dataset
from memsifter.io.files import read_json
from memsifter.metrics.retrieval import ndcg

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(3600)]

TRAINED = [
    "train@round1",
    "collect@round1",
    "merge@round1",
    "rank@round1-sample",
    "chat@round1-sample",
    "evaluate@round1-sample",
    "summarize",
]
STAGES = [*UNTRAINED_STAGES, *TRAINED]
_METRICS = ".cache/memsifter/train/*/attempt_1.jsonl"


def kill_in_training(clone: Clone) -> str:
    """Start the pipeline and kill all of it in the second of two training steps. What it had printed."""
    log = clone.root.parent / "killed.log"
    process = clone.start("bash", "scripts/repro.sh", log=log)
    try:
        # A step's metrics are written after its checkpoint.
        while not any('"step":1,' in path.read_text() for path in clone.root.glob(_METRICS)):
            assert process.poll() is None, f"it ended before its first step:\n{log.read_text()[-6000:]}"
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while group_exists(process.pid):  # DVC goes by its lock as long as a process with the number in it exists
        time.sleep(0.1)
    return log.read_text()


def group_exists(number: int) -> bool:
    """Whether any process of a group is left, be it a zombie."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    root = tmp_path_factory.mktemp("story") / "clone"
    clone = make_clone(root)
    clone.compose("profile=smoke")
    before = kill_in_training(clone)
    assert "train@round1" in stages_run(before)
    output = clone.check("bash", "scripts/repro.sh")
    assert stages_run(before) | stages_run(output) == set(STAGES)
    assert stages_run(before) & stages_run(output) == {"train@round1"}
    assert "NDCG@10" in output, "the summary is printed"
    return clone


def test_training_went_on_from_its_last_checkpoint(clone: Clone) -> None:
    (run,) = (path.parent for path in clone.root.glob(".cache/memsifter/train/*/attempt_2.log"))
    resumed = re.search(r"Resuming from .*global_step_(\d+)", (run / "attempt_2.log").read_text())
    assert resumed
    assert resumed[1] == "1"
    steps = [line for line in (run / "attempt_2.jsonl").read_text().splitlines() if "critic/rewards/mean" in line]
    assert len(steps) == 1, "only the second of two steps was trained again"


def test_training_leaves_checkpoints_a_ranker_and_a_curve(clone: Clone) -> None:
    checkpoints = clone.root / "models/checkpoints/round1"
    assert read_json(checkpoints / "validation.json").keys() == {"1", "2"}
    assert not list(checkpoints.rglob("optim*")), "the optimizer's state is for resuming only"
    assert {path.name for path in (clone.root / "models/collected/round1").iterdir()} == {
        "global_step_1",
        "global_step_2",
    }
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (clone.root / "models/round1").iterdir()
    }
    with (clone.root / "reports/training/round1/curve.csv").open(newline="") as stream:
        series = {(int(row["step"]), row["series"]) for row in csv.DictReader(stream)}
    assert {(1, "reward"), (2, "reward"), (0, "validation reward"), (2, "validation NDCG")} <= series
    with (clone.root / "reports/training/round1/generations.csv").open(newline="") as stream:
        assert {row["step"] for row in csv.DictReader(stream)} >= {"0", "2"}
    gain = read_json(clone.root / "reports/training/round1/validation.json")
    assert (gain["first_step"], gain["last_step"], gain["questions"]) == (0, 2, 1)


def test_status_is_clean_and_a_second_run_runs_nothing(clone: Clone) -> None:
    assert "up to date" in clone.check("dvc", "status")
    assert stages_run(clone.check("bash", "scripts/repro.sh")) == set()


@pytest.mark.parametrize("ranker", ["base", "round1"])
def test_rankings_are_complete_and_answers_come_from_their_top(clone: Clone, ranker: str) -> None:
    dataset = load_dataset(clone.root / "data/processed/sample", ["test"])
    rankings = {row["question_id"]: row for row in rows(clone.root / f"data/rankings/{ranker}/sample.parquet")}
    answers = {row["question_id"]: row for row in rows(clone.root / f"data/answers/{ranker}/sample.parquet")}
    names = [question.question_id for question in dataset.questions]
    assert list(answers) == names, "one row per question, in dataset order"
    assert [name for name in rankings if name in answers] == names
    # A round samples from its start ranker's rankings of the train questions.
    assert len(rankings) == (2 * len(names) if ranker == "base" else len(names))
    for question in dataset.questions:
        ranking, answer = rankings[question.question_id], answers[question.question_id]
        assert sorted(ranking["ranking"]) == sorted(dataset.haystack_of(question).session_ids)
        assert set(ranking["candidates"]) <= set(ranking["ranking"])
        assert ranking["parse_status"] in {"ok", "repaired"}, "structured output always gives a ranking"
        assert 0 < ranking["response_tokens"] <= 32
        assert set(answer["context_session_ids"]) <= set(ranking["ranking"][:3])
        assert answer["response"].strip()


def test_metrics_are_consistent(clone: Clone) -> None:
    coarse = read_json(clone.root / "results/orders/sample/metrics.json")
    base = read_json(clone.root / "results/base/sample/metrics.json")
    assert all(0 <= value <= 1 for value in [*coarse.values(), *base.values()])
    assert {"ndcg_at_10", "recall_at_10", "mrr", "map"} <= coarse.keys() & base.keys()
    assert {"exact_match", "token_f1", "bleu", "rouge_l"} <= base.keys()
    gold = {
        question.question_id: set(question.answer_session_ids)
        for question in load_dataset(clone.root / "data/processed/sample", ["test"]).questions
    }
    rankings = [row for row in rows(clone.root / "data/rankings/base/sample.parquet") if row["question_id"] in gold]
    values = [ndcg(gold[row["question_id"]], row["ranking"], 10) for row in rankings]
    assert base["ndcg_at_10"] == pytest.approx(sum(values) / len(values))
    summary = (clone.root / "reports/summary.md").read_text()
    methods = ("dense", "lexical", "hand_weighted", "fitted", "coarse", "base", "round1")
    assert [summary.count(f"\n| {method} ") for method in methods] == [1] * len(methods)
    answers = read_json(clone.root / "results/coarse/sample/metrics.json")
    assert coarse.items() <= answers.items(), "the coarse order as a ranker is the coarse order, with answers"
    assert answers["token_f1"] >= 0
    assert base["fusion_weight"] == 0, "the train questions are of one conversation"
    shown = clone.check("dvc", "metrics", "show", "--json")
    assert f'"token_f1": {base["token_f1"]}' in shown


def test_mlflow_holds_a_run_per_stage_and_the_curve_of_training(clone: Clone) -> None:
    client = MlflowClient(f"sqlite:///{clone.root}/mlflow.db")
    experiment = client.get_experiment_by_name("memsifter")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 2, "the run that was killed and the one that went on"
    finished, killed = parents  # newest first
    assert killed.info.status == "KILLED"
    assert [run.info.run_name for run in runs if run.info.status == "RUNNING"] == []
    before, after = (
        {run.data.tags["stage"]: run.info.status for run in runs if run.data.tags.get("mlflow.parentRunId") == parent}
        for parent in (killed.info.run_id, finished.info.run_id)
    )
    assert before.pop("train@round1") == "KILLED"
    assert set(before.values()) == set(after.values()) == {"FINISHED"}
    assert after.keys() >= set(TRAINED)
    assert before.keys().isdisjoint(after), "what had finished before is not repeated"
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags and run.info.status == "FINISHED"]
    assert {run.data.tags["stage"] for run in children} == set(STAGES)
    assert finished.info.status == "FINISHED"
    base = read_json(clone.root / "results/base/sample/metrics.json")
    assert finished.data.metrics["test/sample/base/ndcg_at_10"] == base["ndcg_at_10"]
    (train,) = (run for run in children if run.data.tags["stage"] == "train@round1")
    points = client.get_metric_history(train.info.run_id, "critic/rewards/mean")
    assert [point.step for point in points] == [1, 2], "the step before the interruption is there too"


def test_an_unreachable_endpoint_is_one_line_and_leaves_no_answers(clone: Clone) -> None:
    clone.compose("profile=smoke", "chat.base_url=http://127.0.0.1:9/v1", "chat.max_retries=0")
    done = clone.run("dvc", "repro", "chat@base-sample")
    assert done.returncode != 0
    errors = [line for line in done.stdout.splitlines() if line.startswith("memsifter: error: ")]
    assert len(errors) == 1
    assert "http://127.0.0.1:9/v1 failed for good" in errors[0]
    assert not (clone.root / "data/answers/base/sample.parquet").exists()
    clone.compose("profile=smoke")
    assert stages_run(clone.check("dvc", "repro")) == set(), "the answers come back from DVC's cache"


def test_a_changed_parameter_runs_only_what_depends_on_it(clone: Clone) -> None:
    clone.check("git", "add", "--all")
    clone.check("git", "commit", "--quiet", "--message", "first run")
    # Of evaluation: that new parameters of the chat stage run it again, the test above says.
    change = ("-S", "profile=smoke", "-S", "evaluate.ks=[2,10]")
    output = clone.check("dvc", "exp", "run", *change, "--name", "other-cutoffs")
    measuring = {"evaluate_coarse@sample", *(f"evaluate@{ranker}-sample" for ranker in ("coarse", "base", "round1"))}
    assert stages_run(output) == measuring | {"summarize"}
    metrics = read_json(clone.root / "results/round1/sample/metrics.json")
    assert {name for name in metrics if name.startswith("ndcg_at_")} == {"ndcg_at_2", "ndcg_at_10"}
    client = MlflowClient(f"sqlite:///{clone.root}/mlflow.db")
    experiment = client.get_experiment_by_name("memsifter")
    runs = client.search_runs([experiment.experiment_id])
    (tried,) = (run for run in runs if run.info.run_name == "other-cutoffs")
    assert "out.data/rankings/base/sample.parquet" in tried.data.tags, "of what did not have to run"
    # Back to the first run: everything comes from DVC's cache.
    clone.check("git", "checkout", "--quiet", "--force", "HEAD")
    clone.check("dvc", "checkout")
    assert stages_run(clone.check("dvc", "repro")) == set()


def test_a_second_clone_arrives_at_the_same_lock(clone: Clone, untrained_source: Clone) -> None:
    ours, theirs = (yaml.safe_load((root / "dvc.lock").read_text()) for root in (clone.root, untrained_source.root))
    assert ours["stages"].keys() == set(STAGES)
    assert theirs["stages"].keys() == set(UNTRAINED_STAGES)
    differing = [name for name in UNTRAINED_STAGES if ours["stages"][name] != theirs["stages"][name]]
    assert differing == [], "these stages gave other bytes"


def rows(path: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return table
