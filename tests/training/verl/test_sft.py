from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from training_inputs import train_params

from memsifter.errors import MemSifterError
from memsifter.params.data import Kind
from memsifter.params.training import WarmStartParams
from memsifter.ranking.parse import parse_ranking
from memsifter.training.verl import sft
from memsifter.training.verl.schema import compose_own
from memsifter.training.verl.sft import Examples, compose_sft_config, format_gold, write_gold_rankings

FIRST_NUMBER: dict[Kind, int] = {"chat": 1, "deep_research": 0}


def rl_row(name: str, gold: Sequence[int] = (2, 0), kind: str = "chat") -> dict[str, Any]:
    """What of a row of RL data is read here."""
    return {
        "prompt": [{"role": "system", "content": "Rank."}, {"role": "user", "content": f"question {name}"}],
        "extra_info": {
            "dataset": "toy",
            "kind": kind,
            "question_id": name,
            "coarse_order": [1, 2, 0],
            "gold": list(gold),
        },
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def answers(path: Path) -> list[str]:
    return [messages[-1]["content"] for messages in pq.read_table(path)["messages"].to_pylist()]


def test_gold_candidates_are_named_in_coarse_order() -> None:
    assert format_gold([3, 1, 0, 2], [0, 3], first_number=1) == "<think></think><ranking>4,1</ranking>"


@pytest.mark.parametrize(
    ("opened", "output"),
    [("<think>\n", "</think><ranking>1</ranking>"), ("<think>\n\n</think>\n\n", "<ranking>1</ranking>")],
)
def test_a_thought_that_the_chat_template_opened_is_not_opened_again(opened: str, output: str) -> None:
    assert format_gold([0, 1], [0], 1, opened) == output
    assert parse_ranking(opened + output, 2, 1).status == "ok"


@settings(max_examples=200, deadline=None)
@given(data=st.data(), count=st.integers(1, 40), first_number=st.integers(0, 1))
def test_what_is_learnt_is_the_format_that_is_read(data: st.DataObject, count: int, first_number: int) -> None:
    order = data.draw(st.permutations(range(count)))
    gold = data.draw(st.sets(st.sampled_from(range(count)), min_size=1))
    parsed = parse_ranking(format_gold(order, list(gold), first_number), count, first_number)
    assert parsed.status == "ok"
    assert set(parsed.indices) == gold
    assert sorted(parsed.indices, key=order.index) == list(parsed.indices)


def test_an_example_is_the_prompt_and_the_gold_ranking(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "train.parquet", [rl_row("a")])
    assert write_gold_rankings([source], FIRST_NUMBER, 10, tmp_path / "out.parquet") == 1
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {
            "messages": [
                {"role": "system", "content": "Rank."},
                {"role": "user", "content": "question a"},
                {"role": "assistant", "content": "<think></think><ranking>3,1</ranking>"},
            ]
        }
    ]


def test_numbers_are_those_of_the_kinds_prompt(tmp_path: Path) -> None:
    rows = [rl_row("a"), rl_row("b", kind="deep_research")]
    write_gold_rankings([write_rows(tmp_path / "train.parquet", rows)], FIRST_NUMBER, 10, tmp_path / "out.parquet")
    assert answers(tmp_path / "out.parquet") == [
        "<think></think><ranking>3,1</ranking>",
        "<think></think><ranking>2,0</ranking>",
    ]


@pytest.mark.parametrize("limit", [1, 40, 45, 1000])
def test_rows_keep_their_order_up_to_the_limit(tmp_path: Path, limit: int) -> None:
    names = [f"q{number}" for number in range(50)]
    sources = [
        write_rows(tmp_path / "train_0.parquet", [rl_row(name) for name in names[:40]]),
        write_rows(tmp_path / "train_1.parquet", [rl_row(name) for name in names[40:]]),
    ]
    assert write_gold_rankings(sources, FIRST_NUMBER, limit, tmp_path / "out.parquet") == min(limit, 50)
    written = pq.read_table(tmp_path / "out.parquet")["messages"].to_pylist()
    assert [messages[1]["content"] for messages in written] == [f"question {name}" for name in names[:limit]]


def test_a_question_without_gold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "train.parquet", [rl_row("a"), rl_row("b", gold=[7])])
    with pytest.raises(MemSifterError, match="'b' of toy has no gold session"):
        write_gold_rankings([source], FIRST_NUMBER, 10, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_rows_of_another_layout_are_refused(tmp_path: Path) -> None:
    row = rl_row("a")
    del row["extra_info"]["coarse_order"]
    source = write_rows(tmp_path / "train.parquet", [row])
    with pytest.raises(MemSifterError, match="a row lacks coarse_order"):
        write_gold_rankings([source], FIRST_NUMBER, 10, tmp_path / "out.parquet")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    for name, message in (("absent.parquet", "no such file"), ("broken.parquet", "not a readable Parquet file")):
        with pytest.raises(MemSifterError, match=f"{name}: {message}"):
            write_gold_rankings([tmp_path / name], FIRST_NUMBER, 10, tmp_path / "out.parquet")


def composed(steps: int = 6, batch_size: int = 4, count: int = 10, max_tokens: int = 96, **train: Any) -> DictConfig:
    examples = Examples(Path("gold.parquet"), count, max_tokens)
    warm_start = WarmStartParams(steps=steps, batch_size=batch_size, learning_rate=1e-4)
    return compose_sft_config(Path("model"), examples, warm_start, train_params(**train), 7, Path("out"))


def test_parameters_reach_verl() -> None:
    config = composed()
    assert (config.trainer.total_training_steps, config.data.train_batch_size, config.optim.lr) == (6, 4, 1e-4)
    assert (config.model.path, config.data.train_files) == ("model", ["gold.parquet"])
    assert config.trainer.default_local_dir == "out"
    assert config.engine.seed == 7


def test_the_data_is_passed_as_often_as_the_steps_take() -> None:
    # 10 questions give two full batches of 4 per pass.
    assert composed(steps=6).trainer.total_epochs == 3
    assert composed(steps=7).trainer.total_epochs == 4
    assert composed(steps=1).trainer.total_epochs == 1


def test_a_forward_pass_holds_at_least_one_example() -> None:
    assert composed(max_tokens=96, micro_batch_tokens=512).data.max_token_len_per_gpu == 512
    assert composed(max_tokens=900, micro_batch_tokens=512).data.max_token_len_per_gpu == 900


def test_training_is_float32_on_a_cpu_and_mixed_on_gpus() -> None:
    cpu, cuda = composed(device="cpu"), composed(device="cuda")
    assert (cpu.trainer.device, cpu.engine.mixed_precision.param_dtype) == ("cpu", "fp32")
    assert (cuda.trainer.device, cuda.engine.mixed_precision.param_dtype) == ("cuda", "bf16")
    assert cpu.engine.strategy == cuda.engine.strategy == "fsdp2"
    assert cpu.engine.model_dtype == cuda.engine.model_dtype == "fp32"


def test_a_cpu_updates_the_weights_in_one_pass() -> None:
    assert composed(device="cpu").optim.override_optimizer_config == {"fused": True}
    assert composed(device="cuda").optim.override_optimizer_config is None


def test_all_references_are_resolved() -> None:
    assert "${" not in OmegaConf.to_yaml(composed())


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(MemSifterError, match="batch_size is 4, but the round has 3 train questions"):
        composed(count=3)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(MemSifterError, match=r"batch_size \(3\) must be a multiple of .* / train.ulysses \(2 / 1\)"):
        composed(batch_size=3, gpus_per_node=2)


def test_a_key_that_verl_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_typo(name: str, overrides: list[str]) -> DictConfig:
        config = compose_own(name, overrides)
        OmegaConf.update(config, "trainer.save_frequency", 1, force_add=True)
        return config

    monkeypatch.setattr(sft, "compose_own", with_a_typo)
    with pytest.raises(MemSifterError, match=r"verl has no such key: trainer\.save_frequency"):
        composed()
