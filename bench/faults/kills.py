"""SIGKILL at random moments of the run, or of each stage, until it is through; then every byte is compared."""

import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_clone import Clone, clone_of, make_clone

from bench.faults.clones import (
    BETWEEN,
    Running,
    hash_outs,
    read_lock,
    runs_by_status,
    stale_files,
    start_repro,
)
from bench.faults.outcome import Campaign, commit
from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json

_SHORTEST_S, _LONGEST_S = 2.0, 40.0
_LOOK_S = 0.3
_PATIENT_AFTER = 3  # kills without a stage finished: one may need longer than the longest wait to what it keeps


def run_kills(count: int, seed: int, target: str, work: Path | None) -> Campaign:
    """Kill until `count` kills are done, in as many clones as that takes; the state in `work` survives this process.

    Args:
        count: kills; the last clone is then finished in peace.
        seed: of the moments.
        target: a stage to reach; "" for the whole pipeline.
        work: folder of the clones; None for a temporary one.
    """
    campaign, folder, state, calm = _begin("kills", count, seed, target, work)
    while not state.values.get("done"):
        number = state.values.get("clones", 0)
        root = folder / f"killed{number}"
        clone = _open_clone(root, lambda place: clone_of(calm, place))
        _kill_until_through(clone, state, count, random.Random(f"{seed} {len(state.values['kills'])}"))
        problems, notes = compare(calm.root, root)
        compared = {"problems": problems, "notes": notes}
        state.put(
            clones=number + 1,
            compared=[*state.values.get("compared", []), compared],
            done=len(state.values["kills"]) >= count,
        )
    return _summarize(campaign, state.values)


def run_stage_kills(count: int, seed: int, target: str, work: Path | None) -> Campaign:
    """Kill each stage `count` times; kills at random moments of a run seldom hit a short stage.

    The moment is drawn over how long the stage takes undisturbed. One that is through before it is killed so often is
    noted. The arguments are those of `run_kills`.
    """
    campaign, folder, state, calm = _begin("stage_kills", count, seed, target, work)
    clone = _open_clone(folder / "killed", lambda place: clone_of(calm, place))
    if not state.values.get("done"):
        _kill_in_each_stage(clone, state, count)
        problems, notes = compare(calm.root, clone.root)
        state.put(compared=[{"problems": problems, "notes": notes}], clones=1, done=True)
    times = Counter(kill["stage"] for kill in state.values["kills"])
    campaign.notes += [
        f"{stage} was through before its kill number {times[stage] + 1}."
        for stage in read_lock(calm.root)
        if times[stage] < count
    ]
    return _summarize(campaign, state.values)


def _begin(name: str, count: int, seed: int, target: str, work: Path | None) -> tuple[Campaign, Path, "_State", Clone]:
    """The campaign, its folder and state, and a clone that has run undisturbed."""
    folder = work or Path(tempfile.mkdtemp(prefix="kills-"))
    of_target = f" --target {target}" if target else ""
    campaign = Campaign(name, f"python -m bench.faults {name} --count {count} --seed {seed}{of_target}")
    identity = {"campaign": name, "count": count, "commit": commit(), "target": target, "seed": seed}
    state = _State(folder / "state.json", identity)
    if "calm_s" not in state.values:
        (folder / "calm.ready").unlink(missing_ok=True)  # a run that was stopped is not undisturbed
    calm = _open_clone(folder / "calm", make_clone)
    if "calm_s" not in state.values:
        started = time.monotonic()
        stage_s = _finish(calm, target, folder / "calm.log")
        state.put(calm_s=round(time.monotonic() - started), stage_s=stage_s)
    return campaign, folder, state, calm


class _State:
    """What has been done, in a file."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        self.values: dict[str, Any] = read_json(path) if path.exists() else {**identity, "kills": []}
        if differing := [key for key, value in identity.items() if self.values.get(key) != value]:
            raise MemSifterError(f"{path}: belongs to another {differing[0]}; give another --work")

    def put(self, **values: Any) -> None:
        self.values.update(values)
        write_json(self._path, self.values)


def _open_clone(root: Path, make: Callable[[Path], Clone]) -> Clone:
    """The clone at `root`, made anew if it is not whole."""
    ready = root.with_suffix(".ready")
    if ready.exists():
        return Clone(root)
    shutil.rmtree(root, ignore_errors=True)
    clone = make(root)
    clone.compose("profile=smoke")
    ready.touch()
    return clone


def _finish(clone: Clone, target: str, log: Path) -> dict[str, float]:
    """Run to the end; about how many seconds each stage took."""
    stage_s: dict[str, float] = defaultdict(float)
    with start_repro(clone, target, log) as running:
        looked = time.monotonic()
        while (code := running.poll()) is None:
            time.sleep(_LOOK_S)
            stage, before = running.stage(), looked
            looked = time.monotonic()
            stage_s[stage] += looked - before
        stage_s.pop(BETWEEN, None)
        _require_success(clone, running, code, log)
    return dict(stage_s)


def _require_success(clone: Clone, running: Running, code: int, log: Path) -> None:
    """Refuse a run that failed by itself, or left processes behind."""
    if code:
        tail = " ".join(log.read_text(errors="replace").split())[-1500:]
        raise MemSifterError(f"{clone.root}: the pipeline failed by itself with exit code {code}: {tail}")
    if left := running.reap():
        raise MemSifterError(f"{clone.root}: processes are left behind: {left}")


def _kill_until_through(clone: Clone, state: _State, count: int, rng: random.Random) -> None:
    """Kill the pipeline again and again until it finishes by itself, or all kills are done; then let it finish."""
    target = state.values["target"]
    log = clone.root.with_suffix(".log")
    in_a_row, finished = 0, _finished(clone)
    while len(state.values["kills"]) < count:
        wait_s = rng.uniform(_SHORTEST_S, _LONGEST_S * 2 ** (in_a_row // _PATIENT_AFTER))
        with start_repro(clone, target, log) as running:
            started = time.monotonic()
            while (code := running.poll()) is None and time.monotonic() - started < wait_s:
                time.sleep(0.1)
            if code is not None:
                _require_success(clone, running, code, log)
                break
            _kill(running, running.stage(), started, state)
        before, finished = finished, _finished(clone)
        in_a_row = in_a_row + 1 if finished == before else 0
    _finish(clone, target, log)


def _kill(running: Running, stage: str, started: float, state: _State) -> None:
    """Kill it now, and keep that it was."""
    after_s = round(time.monotonic() - started, 1)
    kills = [*state.values["kills"], {"stage": stage, "after_s": after_s, "left": running.kill()}]
    state.put(kills=kills)
    print(f"kill {len(kills)}: {stage} after {after_s} s", flush=True)


def _kill_in_each_stage(clone: Clone, state: _State, count: int) -> None:
    """Kill each stage as often as it is to be; then the run finishes by itself."""
    target, log = state.values["target"], clone.root.with_suffix(".log")
    while True:
        with start_repro(clone, target, log) as running:
            code = _kill_next(running, state, count)
            if code is not None:
                _require_success(clone, running, code, log)
                return


def _kill_next(running: Running, state: _State, count: int) -> int | None:
    """Kill a run at a random moment of the next stage that has not been killed `count` times.

    Returns:
        None, or the exit code of a run that ended by itself before.
    """
    while (code := running.poll()) is None:
        stage = running.stage()
        before = sum(kill["stage"] == stage for kill in state.values["kills"])
        if stage == BETWEEN or before >= count:
            time.sleep(_LOOK_S)
            continue
        rng = random.Random(f"{state.values['seed']} {stage} {before}")
        wait_s = rng.uniform(0, state.values["stage_s"].get(stage, _SHORTEST_S))
        started = time.monotonic()
        while (same := running.stage() == stage) and time.monotonic() - started < wait_s:
            time.sleep(_LOOK_S)
        if same:
            _kill(running, stage, started, state)
            return None
    return code


def _finished(clone: Clone) -> str:
    """Another text whenever a stage has finished."""
    lock = clone.root / "dvc.lock"
    return lock.read_text(encoding="utf-8") if lock.exists() else ""


def compare(calm: Path, killed: Path) -> tuple[list[str], list[str]]:
    """What differs between an undisturbed clone and one that was killed, and what is only to be noted."""
    problems, notes = [], []
    stages, others = read_lock(calm), read_lock(killed)
    if differing := [name for name in stages | others if stages.get(name) != others.get(name)]:
        problems += [f"dvc.lock differs in {name}" for name in differing]
    elif (calm / "dvc.lock").read_bytes() != (killed / "dvc.lock").read_bytes():
        problems.append("dvc.lock has other bytes")
    ours, theirs = hash_outs(calm), hash_outs(killed)
    different = [path for path in sorted(ours.keys() | theirs.keys()) if ours.get(path) != theirs.get(path)]
    problems += [f"{path} has other bytes" for path in different]
    problems += [f"{path} is a leftover" for path in stale_files(killed)]
    statuses = runs_by_status(killed)
    if statuses.get("RUNNING"):
        problems.append(f"{statuses['RUNNING']} runs of MLflow seem to go on")
    notes.append(f"{len(ours)} files of {len(stages)} stages compared; MLflow: {statuses}")
    return problems, notes


def _summarize(campaign: Campaign, state: dict[str, Any]) -> Campaign:
    for kill in state["kills"]:
        if kill["left"]:
            campaign.fail(kill["stage"], f"processes outlived the kill: {kill['left']}")
        else:
            campaign.count(kill["stage"], "all processes ended")
    for number, compared in enumerate(state["compared"]):
        for problem in compared["problems"]:
            campaign.failures.append(f"clone {number}: {problem}")
        campaign.notes += [f"Clone {number}: {note}." for note in compared["notes"]]
    campaign.notes.append(f"One undisturbed run took {state['calm_s']} s; {state['clones']} clones were killed.")
    return campaign
