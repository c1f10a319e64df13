import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, RepoCard

from memsifter.cards.render import render_data_card, render_model_card
from memsifter.io import paths
from memsifter.params import Params, parse_params
from memsifter.tracking.lineage import read_lineage

PROJECT = Path(__file__).resolve().parents[2]
GAIN = {"first": 0.25, "last": 0.5, "gain": 0.25, "gain_low": -0.125, "gain_high": 0.625}
VALIDATION = {"first_step": 0, "last_step": 2, "questions": 4, "reward": GAIN, "ndcg": GAIN, "well_formed": GAIN}
REPORT: dict[str, Any] = {
    "version": "abc",
    "rows": {"train": 16, "test": 4},
    "datasets": {
        "sample": {
            "method": "anchor",
            "splits": {"train": {"available": 30, "train": 16, "test": 4, "not_drawn": 9, "dropped": {"too long": 1}}},
        }
    },
}


def metadata_of(card: RepoCard) -> dict[str, Any]:
    """The metadata as the hub's own reader has it."""
    return dict(vars(card.data))


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def params(values: dict[str, Any]) -> Params:
    return parse_params(values)


def test_a_model_card_tells_base_training_gain_and_lineage(params: Params) -> None:
    lineage = {"data/processed/sample": "0f.dir", "models/collected/round1": "1e.dir"}
    text = render_model_card(params, "round1", ["global_step_2"], VALIDATION, lineage)
    card = metadata_of(ModelCard(text))
    assert card["base_model"] == params.models["base"].ref
    assert card["datasets"] == ["sample"]
    training_round = params.rounds["round1"]
    assert f"DAPO, {params.train.steps} steps of {params.train.batch_size} questions" in text
    assert f"Reward: {training_round.alpha} \N{MULTIPLICATION SIGN} what" in text
    assert "| reward | 0.250 | 0.500 | +0.250 [-0.125, +0.625] |" in text
    assert "Merged in float32: global_step_2." in text
    assert all(f"| `{path}` | `{md5}` |" in text for path, md5 in lineage.items())


def test_what_others_named_stays_in_its_cell(params: Params) -> None:
    text = render_model_card(params, "round1", ["global_step_2"], VALIDATION, {"data/a|b`\x1b": "0f"})
    assert r"| `data/a\|b'\x1b` | `0f` |" in text


def test_a_later_round_names_the_model_at_the_start_of_the_chain(values: dict[str, Any]) -> None:
    later = values["rounds"]["round1"] | {"start_from": "round1", "warm_start": None}
    rankers = {**values["matrix"], "rankers": ["base", "round1", "round2"]}
    chained = parse_params(values | {"rounds": values["rounds"] | {"round2": later}, "matrix": rankers})
    text = render_model_card(chained, "round2", ["global_step_2"], VALIDATION, {})
    assert metadata_of(ModelCard(text))["base_model"] == values["models"]["base"]["ref"]
    assert "(start: `round1`)" in text
    assert "supervised" not in text


def test_a_data_card_tells_sources_and_counts(params: Params) -> None:
    text = render_data_card(params, "round1", REPORT)
    (config,) = metadata_of(DatasetCard(text))["configs"]
    assert [item["split"] for item in config["data_files"]] == ["train", "test"]
    assert "| sample | train | 30 | 16 | 4 | 9 | 1 |" in text
    assert '`{"seed": 7, "haystacks": 10,' in text
    assert "sample: questions near an NDCG@10 of 0.2 in the rankings of `base` were preferred." in text


def test_a_data_card_does_not_claim_a_choice_that_was_not_made(params: Params) -> None:
    drawn = {"sample": REPORT["datasets"]["sample"] | {"method": "random"}}
    text = render_data_card(params, "round1", REPORT | {"datasets": drawn})
    assert "sample: at random, since `base` has not ranked the train questions." in text
    assert "preferred" not in text


def test_cards_hold_no_secret(values: dict[str, Any]) -> None:
    dataset = {
        "reader": "flat",
        "url": "https://data.example.org/rows.parquet",
        "sha256": "0" * 64,
        "watch": "memsifter/datasets/flat.py",
    }
    params = parse_params(values | {"datasets": {"sample": dataset}})
    # Refused when parameters are read; a card masks it all the same.
    url = "https://me:secret-password@data.example.org/rows.parquet?sig=secret-signature"
    datasets = {"sample": params.datasets["sample"].model_copy(update={"url": url})}
    chat = params.chat.model_copy(update={"base_url": "https://llm.example.org/v1?key=secret-key"})
    private = params.model_copy(update={"chat": chat, "datasets": datasets})
    cards = render_data_card(private, "round1", REPORT) + render_model_card(private, "round1", [], VALIDATION, {})
    assert "data.example.org" in cards
    assert "llm.example.org" in cards
    assert "secret" not in cards


def test_lineage_is_what_the_lock_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(PROJECT / name, tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    locked = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]
    lineage = read_lineage("models/collected/round1")
    assert lineage["models/collected/round1"] == locked["collect@round1"]["outs"][0]["md5"]
    assert lineage["data/processed/sample"] == locked["data@sample"]["outs"][0]["md5"]
    assert not {"models/round1", "data/rankings/round1/sample.parquet"} & lineage.keys(), "made from it, not before it"
    (tmp_path / "dvc.lock").unlink()
    assert read_lineage("models/collected/round1") == {}
