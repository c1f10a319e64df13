"""Every score has its embeddings, or the parameters are refused before anything starts."""

from typing import Any, get_args

import pytest
import yaml
from scored_datasets import RETRIEVAL

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import ScoreName, parse_params
from memsifter.retrieval.catalogue import UNITS, computed_scores, lexical_parts, needed_units

NAMES: tuple[ScoreName, ...] = get_args(ScoreName)


def with_score(name: str, **embed: Any) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["retrieval"]["scores"] = [name]
    values["retrieval"]["fit"]["default_weights"] = {}
    values["embed"] |= embed
    return values


def test_what_the_methods_are_made_of_is_always_computed() -> None:
    params = RETRIEVAL.model_copy(update={"scores": ("length", "date")})
    assert computed_scores(params) == ("dense_chunk_max", "lexical_session", "lexical_window_max", "date", "length")
    assert lexical_parts(params.model_copy(update={"lexical": "m3"})) == ("m3_lexical",)


def test_the_units_of_the_scores_are_known() -> None:
    assert set(UNITS) == {name for name in NAMES if name.startswith(("dense_", "m3_"))}
    assert needed_units(("date", "dense_session", "dense_turn_max", "dense_chunk_max")) == ("chunk", "turn")


@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit != "chunk"])
def test_a_score_needs_its_units_embedded(name: ScoreName) -> None:
    with pytest.raises(
        MemSifterError, match=f"retrieval.scores names {name}, which needs {UNITS[name]} in embed.units"
    ):
        parse_params(with_score(name))
    assert parse_params(with_score(name, units=["chunk", UNITS[name]])).retrieval.scores == (name,)


@pytest.mark.parametrize("name", [name for name in NAMES if UNITS.get(name, "chunk") == "chunk" and name[:2] != "m3"])
def test_all_other_scores_need_chunks_alone(name: ScoreName) -> None:
    assert parse_params(with_score(name)).retrieval.scores == (name,)


def test_m3_scores_need_an_m3_model_and_late_interaction_its_token_vectors() -> None:
    with pytest.raises(MemSifterError, match=r"m3 scores, which need embed\.model_class: encoder-only-m3"):
        parse_params(with_score("m3_lexical"))
    m3 = {"model_class": "encoder-only-m3"}
    assert parse_params(with_score("m3_lexical", **m3)).retrieval.scores == ("m3_lexical",)
    with pytest.raises(MemSifterError, match=r"m3_multi_vector, which needs embed\.token_vectors: true"):
        parse_params(with_score("m3_multi_vector", **m3))
    assert parse_params(with_score("m3_multi_vector", **m3, token_vectors=True)).embed.token_vectors
    with pytest.raises(MemSifterError, match=r"embed\.token_vectors needs embed\.model_class: encoder-only-m3"):
        parse_params(with_score("date", token_vectors=True))


@pytest.mark.parametrize("units", [[], ["turn"], ["chunk", "chunk"]])
def test_chunks_are_always_embedded(units: list[str]) -> None:
    with pytest.raises(MemSifterError, match="embed: units must name chunk"):
        parse_params(with_score("date", units=units))
