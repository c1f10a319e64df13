"""What the plan says of whole rounds, and when it stops them."""

import logging
from pathlib import Path
from typing import Any

import pytest

from memsifter import cli
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Params, compose
from memsifter.training import memory, plan
from memsifter.training.memory import GIB, read_shape
from memsifter.training.plan import check_memory, plan_memory, plan_round, visible_memory

SHAPES = Path(__file__).parents[1] / "model_shapes"
SMALL, LARGE = SHAPES / "qwen3_0.6b", SHAPES / "qwen3_4b"


@pytest.fixture
def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Composes a profile without touching params.yaml."""
    monkeypatch.setattr(compose, "PARAMS_FILE", tmp_path / "params.yaml")
    monkeypatch.setattr(compose, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(memory, "has_flash_attention", lambda: True)
    return lambda *overrides: compose.compose([*overrides])


def gib(params: Params, model: Path, name: str, available: float = 79.0) -> float:
    parts = plan_round(params, "round1", model, available * GIB).parts
    return sum(part.bytes for part in parts if part.name == name) / GIB


def test_the_gpu_profiles_fit_a_gpu_of_80_gb(composed: Any) -> None:
    for profile, model in (("gpu", SMALL), ("paper", LARGE)):
        assert plan_round(composed(f"profile={profile}"), "round1", model, 79 * GIB).problem() is None


def test_the_documented_tables_are_what_the_plan_says(composed: Any) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    small = plan_round(composed("profile=gpu"), "round1", SMALL, 79 * GIB).table()
    large = plan_round(composed("profile=paper"), "round1", LARGE, 79 * GIB).table()
    columns: list[dict[str, Any]] = [{str(row["part"]): row for row in rows} for rows in (small, large)]
    for part in list(dict.fromkeys([*columns[0], *columns[1]])):
        cells = [column.get(part, {}).get(phase, "") for column in columns for phase in ("update", "generate")]
        assert f"| {' | '.join([part, *cells])} |" in text


def test_more_gpus_share_the_trainers_state_and_ulysses_the_activations(composed: Any) -> None:
    one, eight = composed("profile=paper", "train.gpus_per_node=2"), composed("profile=paper")
    assert gib(one, LARGE, "optimizer") == pytest.approx(4 * gib(eight, LARGE, "optimizer"))
    whole = composed("profile=paper", "train.ulysses=1", "train.mini_batch_size=4")
    assert gib(whole, LARGE, "checkpoints") == pytest.approx(2 * gib(eight, LARGE, "checkpoints"), rel=1e-3)


def test_a_dense_mask_counts_where_rows_of_several_sequences_need_one(composed: Any) -> None:
    packed = composed("profile=local", "train.micro_batch_tokens=4096")
    assert gib(packed, SMALL, "mask") == pytest.approx(6 * 4096**2 / GIB)
    assert gib(composed("profile=local"), SMALL, "mask") == 0


def test_what_cannot_fit_is_named_with_what_to_lower(composed: Any) -> None:
    problem = plan_round(composed("profile=gpu"), "round1", LARGE, 24 * GIB).problem()
    assert problem is not None
    assert "on each GPU while" in problem
    assert "and there are 24.0 (" in problem
    small = plan_round(composed("profile=paper", "train.rollout_memory=0.3"), "round1", LARGE, 79 * GIB).problem()
    assert small is not None
    assert "train.rollout_memory 0.3 gives the rollout 23.7 GiB" in small


def test_a_round_that_cannot_fit_is_refused_on_a_gpu_and_told_on_a_cpu(
    composed: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plan, "model_directory", lambda _: LARGE)
    monkeypatch.setattr(plan, "available_memory", lambda _: 24.0 * GIB)
    with pytest.raises(MemSifterError, match=r"training needs .* GiB on each GPU"):
        check_memory(composed("profile=gpu"), "round1")
    with caplog.at_level(logging.WARNING):
        check_memory(composed("profile=local"), "round1")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("training needs ")
    assert "on this machine" in line
    monkeypatch.setattr(plan, "available_memory", lambda _: None)  # a cluster's GPUs
    check_memory(composed("profile=gpu"), "round1")


def test_the_default_needs_less_than_a_laptop_has(composed: Any) -> None:
    params = composed("profile=local")
    shape = read_shape(SHAPES / "smollm2_135m")
    assert plan_memory(params, shape, 16 * GIB, shape).problem() is None


def test_the_warm_start_counts_where_there_is_one(composed: Any) -> None:
    params = composed("profile=local")
    plan_of_round = plan_round(params, "round1", SHAPES / "smollm2_135m", 16 * GIB)
    alone = plan_of_round.needed("warm start")
    assert 0 < alone < plan_of_round.needed("update")
    assert plan_of_round.table()[-1]["warm start"] == f"{alone / GIB:.1f}"
    without = plan_round(composed("profile=paper"), "round1", LARGE, 79 * GIB)
    assert without.needed("warm start") == 0
    assert "warm start" not in without.table()[-1]


def test_a_warm_start_has_the_gpus_of_one_machine_and_offloads_nothing(composed: Any) -> None:
    two_nodes = ("train.nnodes=2", "train.gpus_per_node=4", "cluster.address=10.0.0.1:6379")
    params, shape = composed("profile=paper", *two_nodes), read_shape(LARGE)
    state = 16 * shape.parameters / 4  # weights, gradients and two moments in float32
    assert gib(params, LARGE, "optimizer") * GIB == pytest.approx(state / 2 / 2)
    needed = plan_memory(params, shape, 79 * GIB, warm=True).needed("warm start")
    assert needed > state
    problem = plan_memory(params, shape, needed - GIB, warm=True).problem()
    assert problem is not None
    assert "more GPUs on one machine (train.gpus_per_node)" in problem
    assert "offload" not in problem


def test_the_command_prints_the_table_and_fails_where_it_does_not_fit(
    composed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = composed("profile=gpu")
    monkeypatch.setattr("memsifter.params.load_params", lambda: params)
    cli.main(["plan", "--model", str(SMALL), "--gpu-gib", "79"])
    assert "together" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", "--model", str(LARGE), "--gpu-gib", "10"])
    assert ended.value.code == 1
    with pytest.raises(SystemExit):
        cli.main(["plan", "--round", "round9"])


@pytest.mark.parametrize("profile", ["gpu", "local"])
def test_an_estimate_that_fails_ends_no_training(
    profile: str, composed: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Path) -> None:
        raise AttributeError("'NewConfig' object has no attribute 'hidden_size'")

    monkeypatch.setattr(plan, "read_shape", fail)
    monkeypatch.setattr(plan, "available_memory", lambda _: 24.0 * GIB)
    check_memory(composed(f"profile={profile}"), "round1")
    assert "whether round1 fits the memory is unknown: 'NewConfig' object has no attribute" in caplog.text


@pytest.mark.parametrize(
    ("visible", "gib"),
    [(None, [80, 24]), ("0", [80]), ("1", [24]), ("GPU-bb", [24]), ("0, 1", [80, 24]), ("", []), ("MIG-aa", [])],
)
def test_only_gpus_that_cuda_shows_count(visible: str | None, gib: list[int]) -> None:
    listing = "0, GPU-aa11, 81920\n1, GPU-bb22, 24576\n2, GPU-cc33, [N/A]\n"
    assert visible_memory(listing, visible) == [size * GIB for size in gib]
