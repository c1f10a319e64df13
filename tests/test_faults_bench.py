"""The campaign of deliberate damage, with few cases; `python -m bench.faults` tries thousands."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bench.faults import files, kills, report, servers, values
from bench.faults.clones import BETWEEN, Running, shown_command
from bench.faults.outcome import Campaign, describe_problem, load_campaign
from memsifter.errors import MemSifterError


@pytest.mark.slow
def test_bad_values_are_accepted_or_one_line() -> None:
    campaign = values.run_values(250, 1)
    assert campaign.failures == []
    assert campaign.total == 250
    assert campaign.tried.keys() >= values.REFUSED.keys() | values.ODD.keys()
    assert campaign.outcomes.keys() == {"accepted", "refused in one line"}


def test_damaged_files_are_named_or_read_rightly() -> None:
    campaign = files.run_files(60, 1)
    assert campaign.failures == []
    assert campaign.total == 60


@pytest.mark.slow
def test_failing_servers_change_no_answer_and_no_reward() -> None:
    campaign = servers.run_servers(12, 1)
    assert campaign.failures == []
    assert campaign.outcomes.keys() == {"passed over", "told, never scored"}


def test_there_are_enough_kinds_of_server_faults() -> None:
    assert len(servers.passing_faults()) + len(servers.lasting_faults()) >= 300


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemSifterError("a.json: not JSON"), None),
        (MemSifterError("a.json:\nnot JSON"), "not one line"),
        (MemSifterError(" "), "not one line"),
        (MemSifterError("x" * 100_000), "a line of 100000 characters"),
        (KeyError("h1"), "KeyError: 'h1'"),
    ],
)
def test_only_one_clear_line_survives(error: Exception, problem: str | None) -> None:
    found = describe_problem(error)
    assert found is None if problem is None else found is not None and problem in found


LOCK = """schema: '2.0'
stages:
  score@a:
    outs: [{path: data/a}]
  train@r:
    deps: [{path: data/a}]
    outs: [{path: models/r}]
  rank@r-a:
    deps: [{path: models/r}]
    outs: [{path: data/rankings}]
"""


@pytest.fixture
def clones(tmp_path: Path) -> tuple[Path, Path]:
    """Two clones with the same lock and outs."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for name in ("data/a", "models/r", "data/rankings"):
        (calm / name).mkdir(parents=True)
        (calm / name / "x").write_text(name)
    (calm / "dvc.lock").write_text(LOCK)
    with sqlite3.connect(calm / "mlflow.db") as database:
        database.execute("create table runs (status text)")
        database.execute("insert into runs values ('FINISHED')")
    shutil.copytree(calm, killed)
    return calm, killed


def test_clones_that_are_the_same(clones: tuple[Path, Path]) -> None:
    problems, notes = kills.compare(*clones)
    assert problems == []
    assert notes == ["3 files of 3 stages compared; MLflow: {'FINISHED': 1}"]


def test_what_differs_is_found(clones: tuple[Path, Path]) -> None:
    calm, killed = clones
    (killed / "data/a/x").write_text("other")
    (killed / "data/rankings/x").write_text("other")
    (killed / "data/.a.abcdefgh.tmp").mkdir()
    (killed / "dvc.lock").write_text(LOCK.replace("data/rankings}", "data/rankings, md5: '1'}"))
    with sqlite3.connect(killed / "mlflow.db") as database:
        database.execute("insert into runs values ('RUNNING')")
    problems, _ = kills.compare(calm, killed)
    assert problems == [
        "dvc.lock differs in rank@r-a",
        "data/a/x has other bytes",
        "data/rankings/x has other bytes",
        "data/.a.abcdefgh.tmp is a leftover",
        "1 runs of MLflow seem to go on",
    ]


class Pipeline(Running):
    """A run of two stages: `looks` is what is seen of it, look by look, before it ends."""

    def __init__(self, looks: list[str]) -> None:
        self.looks = looks

    def poll(self) -> int | None:
        return None if self.looks else 0

    def stage(self) -> str:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def kill(self) -> list[str]:
        self.looks.clear()
        return []


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(kills, "_LOOK_S", 0.001)
    found = kills._State(tmp_path / "state.json", {"campaign": "stage_kills", "seed": 0})
    found.put(stage_s={"score@a": 0.01, "order@a": 0.01})
    return found


def test_each_stage_is_killed_as_often_as_it_is_to_be(state: Any) -> None:
    for _ in range(4):
        # What has been killed often enough is let through: then the next stage is met.
        done = sum(kill["stage"] == "score@a" for kill in state.values["kills"]) == 2
        looks = [BETWEEN, *(["score@a", "order@a"] if done else ["score@a"])]
        assert kills._kill_next(Pipeline(looks), state, 2) is None
    assert [kill["stage"] for kill in state.values["kills"]] == ["score@a", "score@a", "order@a", "order@a"]
    again = kills._State(state._path, {"campaign": "stage_kills", "seed": 0})
    assert again.values["kills"] == state.values["kills"], "a campaign that is started again goes on"
    with pytest.raises(MemSifterError, match="belongs to another campaign; give another --work"):
        kills._State(state._path, {"campaign": "kills", "seed": 0})


def test_a_stage_that_is_through_before_its_kill_is_not_counted(state: Any) -> None:
    state.put(stage_s={"score@a": 1e9, "order@a": 0.0})
    assert kills._kill_next(Pipeline(["score@a", "score@a", "order@a"]), state, 2) is None
    assert [kill["stage"] for kill in state.values["kills"]] == ["order@a"]


def test_a_command_line_is_shown_without_the_folders_of_the_machine() -> None:
    command = ["/opt/env/bin/python", "-m", "vllm", "--model", "/home/ann/models/reader", "--host", "127.0.0.1"]
    assert shown_command(command) == "python -m vllm --model reader --host 127.0.0.1"


def test_a_campaign_is_kept_and_shown(tmp_path: Path) -> None:
    campaign = Campaign("values", "python -m bench.faults values")
    campaign.count("NaN", "refused in one line")
    campaign.fail("infinity", "seed: accepted")
    campaign.save(tmp_path)
    page = report.render_report(
        {"values": load_campaign(tmp_path, "values")} | dict.fromkeys(("files", "servers", "kills", "stage_kills"))
    )
    assert "| [bad parameters](#bad-parameters) | 2 | 1 | 2 |" in page
    assert "- `infinity: seed: accepted`" in page
    assert "| damaged files | not run yet |" in page


def test_the_page_is_what_the_results_give() -> None:
    names = ("values", "files", "servers", "kills", "stage_kills")
    results = {name: load_campaign(report.RESULTS, name) for name in names}
    assert report.DOCUMENT.read_text(encoding="utf-8") == report.render_report(results)
