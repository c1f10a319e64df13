import csv
import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json
from memsifter.training.report import (
    log_live,
    measure_gain,
    open_live,
    write_curve,
    write_generations,
    write_live,
    write_rollouts,
)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def dump(directory: Path, step: int, rows: list[dict[str, Any]]) -> None:
    directory.mkdir(exist_ok=True)
    lines = [json.dumps({**row, "step": step}, ensure_ascii=False) + "\n" for row in rows]  # as verl writes them
    (directory / f"{step}.jsonl").write_text("".join(lines), encoding="utf-8")


def response(text: str, score: float) -> dict[str, Any]:
    return {
        "input": "Which\u2028session?",
        "output": text,
        "gts": "42",
        "reward": score,
        "score": 0.9,
        "answer_part": score,
        "retrieval_part": 1.0,
        "uid": "random",
    }


def test_the_curve_has_what_was_measured_at_each_step(tmp_path: Path) -> None:
    history = {
        1: {"critic/rewards/mean": 0.25, "reward/answer_part/mean": 0.1, "actor/lr": 1e-6},
        0: {
            "val-aux/a/reward/mean@1": 0.2,
            "val-aux/b/reward/mean@1": 0.4,
            "val-aux/a/retrieval_part/mean@1": 0.5,
            "val-aux/a/retrieval_part_success_only/mean@1": 0.9,
        },
    }
    write_curve(tmp_path / "curve.csv", history)
    assert [tuple(row.values()) for row in read(tmp_path / "curve.csv")] == [
        ("0", "validation reward", "0.3"),
        ("0", "validation NDCG", "0.5"),
        ("1", "reward", "0.25"),
        ("1", "answer part", "0.1"),
    ]


def test_dvclive_s_files_appear_while_training_runs_and_are_the_same_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no repository: DVCLive looks for one
    start = {"val-core/a/reward/mean@1": 0.2}
    with open_live(tmp_path / "live") as live:
        log_live(live, 0, start)
        log_live(live, 1, {"critic/rewards/mean": 0.25, "actor/lr": 1e-6})
        assert read_json(tmp_path / "live/metrics.json") == {"validation_reward": 0.2, "reward": 0.25, "step": 1}
        log_live(live, 1, {"critic/rewards/mean": 0.125})  # trained again, from the last checkpoint
    write_live(tmp_path / "live", {0: start, 1: {"critic/rewards/mean": 0.125}})
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    tables = ("live/plots/metrics/reward.tsv", "live/plots/metrics/validation_reward.tsv")
    assert files == {"live/metrics.json", *tables}, "dvc.yaml is not DVCLive's to write"
    assert [(tmp_path / table).read_text() for table in tables] == [
        "step\treward\n1\t0.125\n",
        "step\tvalidation_reward\n0\t0.2\n",
    ]
    assert read_json(tmp_path / "live/metrics.json") == {"validation_reward": 0.2, "reward": 0.125, "step": 1}


def test_the_last_bits_of_the_rollout_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, noise in (("one", 0.0), ("again", 1.2e-6)):
        metrics = {"training/rollout_probs_diff_mean": 9.4e-6 + noise, "rollout_corr/kl": 0.00213 + noise}
        write_live(tmp_path / name, {1: metrics})
    one, again = ([path.read_text() for path in sorted((tmp_path / run).rglob("*.*"))] for run in ("one", "again"))
    assert one == again
    assert read_json(tmp_path / "one/metrics.json") == {"mismatch": 0.0, "mismatch_kl": 0.0021, "step": 1}


def test_generations_are_a_table_with_the_best_first(tmp_path: Path) -> None:
    dump(tmp_path / "dumps", 2, [response("late, with\n<ranking>1</ranking>", 0.5)])
    dump(tmp_path / "dumps", 0, [response("worse", -0.5), response("better", 0.7)])
    write_generations(tmp_path / "generations.csv", tmp_path / "dumps", [2, 0])
    rows = read(tmp_path / "generations.csv")
    assert [(row["step"], row["response"]) for row in rows] == [
        ("0", "better"),
        ("0", "worse"),
        ("2", "late, with\n<ranking>1</ranking>"),
    ]
    assert rows[0]["prompt"] == "Which\\u2028session?"
    assert "uid" not in rows[0]


def test_rollouts_show_two_questions_of_each_step_with_their_prompts_once(tmp_path: Path) -> None:
    for step in (1, 2):
        answers = [
            (f"{name} says {text}", name, score) for name in "abc" for text, score in (("no", 0.1), ("yes", 0.9))
        ]
        dump(
            tmp_path / "dumps",
            step,
            [{"step": step, "input": name, "output": text, "score": s, "gts": "A"} for text, name, s in answers],
        )
    write_rollouts(tmp_path / "rollouts.csv", tmp_path / "dumps", [1, 2])
    rows = read(tmp_path / "rollouts.csv")
    assert [row["step"] for row in rows] == ["1"] * 4 + ["2"] * 4
    for first, second in (rows[:2], rows[2:4], rows[4:6], rows[6:]):
        assert (first["response"], second["response"]) == (f"{first['prompt']} says yes", f"{first['prompt']} says no")
        assert second["prompt"] == ""
    assert rows[0]["prompt"] != rows[2]["prompt"]


def test_a_generation_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    dump(tmp_path / "dumps", 0, [response('=HYPERLINK("http://x")', -0.5), response("\x1b[2J", -1.0)])
    write_generations(tmp_path / "generations.csv", tmp_path / "dumps", [0])
    rows = read(tmp_path / "generations.csv")
    assert [row["response"] for row in rows] == ['\'=HYPERLINK("http://x")', "\\x1b[2J"]
    assert [row["reward"] for row in rows] == ["-0.5", "-1.0"]


def test_a_missing_or_broken_dump_is_named(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"dumps/3.jsonl: no such file"):
        write_generations(tmp_path / "g.csv", tmp_path / "dumps", [3])
    dump(tmp_path / "dumps", 3, [{"input": "x", "output": "y"}])
    with pytest.raises(MemSifterError, match=r"3.jsonl: answer_part, gts, retrieval_part, reward missing"):
        write_generations(tmp_path / "g.csv", tmp_path / "dumps", [3])
    assert list(tmp_path.glob("*.csv")) == []


def validated(question: str, reward: float, ndcg: float, well_formed: bool = True) -> dict[str, Any]:
    return {"input": question, "reward": reward, "retrieval_part": ndcg, "parse_ok": float(well_formed)}


def test_a_gain_is_measured_question_by_question(tmp_path: Path) -> None:
    easy, hard = validated("easy?", 0.9, 1.0), validated("hard?", 0.1, 0.4)
    dump(tmp_path, 0, [easy, hard])
    dump(tmp_path, 6, [validated("hard?", 0.3, 0.6), validated("easy?", 1.1, 1.0)])
    gain = measure_gain(tmp_path, 0, 6, seed=7)
    assert (gain["first_step"], gain["last_step"], gain["questions"]) == (0, 6, 2)
    # Both rewards rose by .2: paired, nothing is left to chance, although the questions differ by .8.
    assert [round(gain["reward"][name], 9) for name in ("first", "last", "gain", "gain_low", "gain_high")] == [
        0.5,
        0.7,
        0.2,
        0.2,
        0.2,
    ]
    assert gain["ndcg"]["gain_low"] == 0 < gain["ndcg"]["gain_high"]
    assert gain["well_formed"]["last"] == 1


def test_a_gain_leaves_out_what_the_working_llm_refused(tmp_path: Path) -> None:
    refused = validated("refused?", 0.0, 1.0) | {"left_out": 1.0}
    dump(tmp_path, 0, [validated("easy?", 0.9, 1.0), refused])
    dump(tmp_path, 6, [validated("easy?", 1.1, 1.0), validated("refused?", 0.5, 1.0)])
    gain = measure_gain(tmp_path, 0, 6, seed=7)
    assert (gain["questions"], gain["left_out"]) == (1, 1)
    assert gain["reward"]["gain"] == pytest.approx(0.2)
    dump(tmp_path, 0, [refused])
    dump(tmp_path, 6, [validated("refused?", 0.5, 1.0)])
    with pytest.raises(MemSifterError, match="refused every question"):
        measure_gain(tmp_path, 0, 6, seed=7)


def test_validations_of_other_questions_are_not_compared(tmp_path: Path) -> None:
    dump(tmp_path, 0, [validated("one?", 0, 0)])
    dump(tmp_path, 6, [validated("another?", 0, 0)])
    with pytest.raises(MemSifterError, match=r"0.jsonl and 6.jsonl do not hold the same questions"):
        measure_gain(tmp_path, 0, 6, seed=7)


def test_several_responses_to_a_question_are_one_question(tmp_path: Path) -> None:
    for step, scores in ((0, [[0.0, 0.2], [0.4, 0.6]]), (5, [[0.2, 0.4], [0.5, 0.7]])):
        rows = [response("x", score) | {"input": f"q{n}", "parse_ok": 1.0} for n, s in enumerate(scores) for score in s]
        dump(tmp_path, step, rows)
    gain = measure_gain(tmp_path, 0, 5, seed=0)
    assert gain["questions"] == 2
    assert gain["reward"]["first"] == pytest.approx(0.3)
    assert gain["reward"]["gain"] == pytest.approx(0.15)


def test_what_tells_whether_training_is_sound_has_plots_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = {"actor/entropy_loss": 2.5, "actor/pg_clipfrac": 0.1, "rollout_corr/kl": 0.01, "actor/lr": 1e-6}
    write_live(tmp_path / "live", {1: metrics})
    assert sorted(path.stem for path in (tmp_path / "live" / "plots" / "metrics").iterdir()) == [
        "clipped_share",
        "entropy",
        "mismatch_kl",
    ]
