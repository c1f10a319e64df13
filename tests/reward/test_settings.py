"""The reward's settings as params.yaml gives them."""

from pathlib import Path

import pytest
from tiny_tokenizer import CHAT_TEMPLATE, NO_SYSTEM_TEMPLATE, byte_tokenizer

from memsifter.chat import server as working_llm
from memsifter.params import Params, load_params
from memsifter.reward import settings as module
from memsifter.reward.settings import read_settings, settings_of


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.setattr(working_llm, "fingerprint_model", lambda _: "weights")
    monkeypatch.setattr(module, "load_tokenizer", lambda _: byte_tokenizer(chat_template=CHAT_TEMPLATE))
    monkeypatch.setattr(module, "cache_directory", lambda name: tmp_path / name)
    return load_params()


def test_settings_travel_as_text(params: Params) -> None:
    settings = settings_of(params, "round1", "http://127.0.0.1:1234/v1")
    assert read_settings(settings.model_dump_json()) == settings
    assert (settings.alpha, settings.beta) == (params.rounds["round1"].alpha, params.rounds["round1"].beta)
    assert settings.working_llm.base_url == "http://127.0.0.1:1234/v1"
    assert settings.prompts["chat"].form == "completion"
    assert settings.first_number == {"chat": 1, "deep_research": 1}


def test_what_the_chat_templates_need_is_part_of_it(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    template = NO_SYSTEM_TEMPLATE.replace("<|assistant|>", "<|assistant|><think>")
    monkeypatch.setattr(module, "load_tokenizer", lambda _: byte_tokenizer(chat_template=template))
    settings = settings_of(params, "round1", "http://127.0.0.1:1234/v1")
    assert settings.opened_thought == "<think>"
    assert settings.prompts["deep_research"].system == "", "a local working LLM without a system role"
    remote = params.model_copy(update={"chat": params.chat.model_copy(update={"base_url": "https://api.example/v1"})})
    assert settings_of(remote, "round1", "https://api.example/v1").prompts["deep_research"].system


def test_a_local_working_llm_is_told_by_its_weights_and_sent_no_key(params: Params) -> None:
    settings = settings_of(params, "round1", "http://127.0.0.1:1234/v1")
    assert settings.working_llm.revision == "weights float32"
    assert settings.working_llm.api_key_env == ""


def test_a_judge_is_part_of_it_only_where_it_scores(params: Params) -> None:
    judge = {
        "base_url": "http://127.0.0.1:9/v1",
        "model": "judge",
        "api_key_env": "JUDGE_KEY",
        "concurrency": 2,
        "timeout_s": 10.0,
        "max_retries": 1,
    }
    values = params.model_dump()
    values["reward"]["judge"] = judge
    assert settings_of(Params.model_validate(values), "round1", "http://h/v1").judge is None
    values["reward"]["metric"] = "judge"
    settings = settings_of(Params.model_validate(values), "round1", "http://h/v1")
    assert settings.judge is not None
    assert (settings.judge.section, settings.judge.api_key_env) == ("reward.judge", "JUDGE_KEY")
    assert settings.judge_prompt is not None
