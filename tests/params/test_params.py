"""A wrong parameter is one line that names the key and what is allowed."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import load_params, parse_params

DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text())


def with_value(key: str, value: Any) -> dict[str, Any]:
    values: dict[str, Any] = copy.deepcopy(DEFAULT)
    section = values
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    section[last] = value
    return values


def without(key: str) -> dict[str, Any]:
    values = with_value(key, None)
    section = values
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    del section[last]
    return values


def error_of(values: Any) -> str:
    with pytest.raises(MemSifterError) as caught:
        parse_params(values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_default_is_valid() -> None:
    assert load_params().profile == "local"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rank.max_rankd", 5, "rank.max_rankd: unknown key; did you mean max_ranked?"),
        ("rank.engine.cores", 5, "rank.engine.cores: unknown key; allowed: device"),
        ("models.base.reff", "x", "models.base.reff: unknown key; did you mean ref?"),
        ("datasets.sample.session", 5, "datasets.sample.session: unknown key; did you mean sessions?"),
        ("evaluate.judge", {"base": 1}, "evaluate.judge.base: unknown key; did you mean base_url?"),
        ("nothing", 1, "nothing: unknown key"),
        ("rank.temperature", "hot", "rank.temperature: Input should be a valid number, got 'hot'"),
        ("rank.temperature", -1.0, "rank.temperature: Input should be greater than or equal to 0"),
        ("rank.structured_output", "yes", "rank.structured_output: Input should be a valid boolean"),
        ("rank.max_ranked", 2.5, "rank.max_ranked: "),
        ("rank.max_ranked", True, "rank.max_ranked: "),
        (
            "retrieval.fusion",
            "bm25",
            "retrieval.fusion: Input should be 'dense', 'lexical', 'hand_weighted', 'fitted' or 'fitted_likelihood', ",
        ),
        (
            "retrieval.likelihood.datasets",
            [],
            "retrieval.fusion is fitted_likelihood, but retrieval.likelihood.datasets does not name sample",
        ),
        ("retrieval.scores", ["date", "date"], "retrieval: scores names one more than once"),
        ("retrieval.scores", ["date", "m3_lexical"], "m3 scores, which need embed.model_class: encoder-only-m3"),
        ("retrieval.fit.datasets", ["locomo"], "retrieval.fit.datasets names locomo; matrix.datasets has sample"),
        (
            "retrieval.likelihood.datasets",
            ["sample", "locomo"],
            "retrieval.likelihood.datasets names locomo; matrix.datasets has sample",
        ),
        ("retrieval.likelihood.model", "reader", "retrieval.likelihood.model names the model 'reader'; models has"),
        ("retrieval.fit.default_weights", {"dates": 1.0}, "retrieval.fit.default_weights.dates"),
        ("retrieval.weights", {"dense": 0.0, "lexical": 0.0, "date": 1.0}, "retrieval.weights: at least one of"),
        ("datasets.sample.reader", "samples", "datasets.sample"),
        ("datasets", {}, "datasets: "),
        ("embed.chunk_overlap", 4096, "chunk_overlap must be smaller than chunk_tokens"),
        ("embed.model", "minilm", "embed.model names the model 'minilm'; models has coarse, fitted, embedder, base"),
        ("matrix.rankers", ["round9"], "matrix.rankers names the model 'round9'"),
        ("rank.train_rankers", ["bsae"], "rank.train_rankers names bsae; matrix.rankers has fitted, coarse"),
        ("matrix.rankers", ["orders"], "orders is reserved; choose another name"),
        ("matrix.rankers", ["trained"], "matrix.rankers names the model 'trained'"),
        ("models.base.ref", "order:best", "order:best names no coarse order; there are coarse, dense, lexical"),
        ("models.base.ref", "order:dense", "an order or a tiny model has no hash and no adapter; set"),
        ("models.base.ref", "tiny:7", "an order or a tiny model has no hash and no adapter; set"),
        ("models.coarse.ref", "order:dense", "models.coarse: the name of a coarse order; set its ref to order:coarse"),
        ("embed.model", "coarse", "embed.model is coarse, which is a coarse order (order:coarse) and no model"),
        ("chat.local_model", "coarse", "chat.local_model is coarse, which is a coarse order"),
        ("rounds.round1.start_from", "coarse", "rounds.round1.start_from is coarse, which is a coarse order"),
        ("rank.fusion", "best", "rank.fusion"),
        ("rank.fusion", -0.5, "rank.fusion"),
        ("rank.scores", "first_letter", "rank.scores: Input should be 'written' or 'first_number'"),
        ("chat.min_score", 1.5, "chat.min_score: Input should be less than or equal to 1"),
        ("models.base.ref", "path:mine", "models.base.watch must be the path, mine"),
        ("matrix.datasets", ["locomo"], "matrix.datasets names locomo; datasets has sample"),
        ("chat.context_tokens", 99999, "more than chat.engine.max_model_len"),
        ("rank.view", "whole", "rank: view is whole, which cuts nothing, but session_tokens is 64"),
        ("chat.session_tokens", None, "chat: view is excerpt, which needs session_tokens"),
        ("evaluate.split", "train", "evaluate.split is train, which rank.splits does not hold"),
        ("models.base.sha256", "abc", "models.base.sha256: "),
        ("embed.gpus_per_worker", 1.5, "embed.gpus_per_worker: Ray gives a part of a GPU"),
    ],
)
def test_a_wrong_value_names_its_key(key: str, value: Any, expected: str) -> None:
    assert expected in error_of(with_value(key, value))


def test_a_missing_key_is_named() -> None:
    assert "rank.max_ranked: missing" in error_of(without("rank.max_ranked"))


def test_all_problems_are_told_at_once() -> None:
    values = with_value("rank.max_ranked", 0)
    values["chat"]["timeout_s"] = 0.0
    message = error_of(values)
    assert "rank.max_ranked" in message
    assert "chat.timeout_s" in message


def test_a_dataset_from_a_file_needs_exactly_one_source() -> None:
    values = with_value(
        "datasets.mine", {"reader": "flat", "path": "a", "watch": "a", "url": "http://b", "sha256": "0" * 64}
    )
    assert "datasets.mine: give exactly one of path and url" in error_of(values)
    values["datasets"]["mine"] = {"reader": "flat", "watch": "a", "url": "http://b"}
    assert "datasets.mine: a url needs its sha256" in error_of(values)
    values["datasets"]["mine"] = {"reader": "flat", "path": "a", "watch": "b"}
    assert "datasets.mine.watch must be the path, a" in error_of(values)


def test_a_name_with_a_dot_would_be_a_path_to_dvc() -> None:
    values = with_value("models", DEFAULT["models"] | {"qwen3-0.6b": DEFAULT["models"]["base"]})
    assert "models.qwen3-0.6b" in error_of(values)


def test_an_endpoint_is_not_bound_by_the_local_engine() -> None:
    values = with_value("chat.base_url", "https://example.org/v1")
    values["chat"] |= {"max_tokens": 4096, "model": "big"}
    assert parse_params(values).chat.max_tokens == 4096


def test_a_missing_file_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="make params"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("reward.metric", "f1", "reward.metric: Input should be 'token_f1', 'exact_match'"),
        ("reward.metric", "judge", "reward: metric: judge needs judge"),
        ("rounds.round1.start_from", "round0", "rounds.round1.start_from is round0; models and earlier rounds are"),
        ("rounds.round1.start_from", "embedder", "rounds.round1.start_from is embedder, which matrix.rankers"),
        ("rounds.round1.recipe", {}, "rounds.round1.recipe: Dictionary should have at least 1 item"),
        ("rounds.round1.recipe", {"x": {"train": 1, "test": 1}}, "rounds.round1.recipe names x; matrix.datasets has"),
        ("rounds.round1.recipe", {"sample": {"train": 1, "test": 0}}, "no dataset has test questions"),
        ("rounds.round1.alpha", -1.0, "rounds.round1.alpha: Input should be greater than or equal to 0"),
        ("rounds.round1.beat", 1.0, "rounds.round1.beat: unknown key; did you mean beta?"),
    ],
)
def test_what_a_round_must_be(key: str, value: Any, expected: str) -> None:
    assert expected in error_of(with_value(key, value))


def test_a_round_must_pay_something() -> None:
    values = with_value("rounds.round1.alpha", 0.0)
    values["rounds"]["round1"]["beta"] = 0.0
    assert "alpha and beta are both 0" in error_of(values)


def test_a_round_is_not_named_like_a_model() -> None:
    values = with_value("rounds.base", DEFAULT["rounds"]["round1"])
    assert "rounds.base: a model has this name" in error_of(values)


def test_a_round_may_start_from_an_earlier_one() -> None:
    values = with_value("rounds.round2", {**DEFAULT["rounds"]["round1"], "start_from": "round1"})
    values["matrix"]["rankers"] = ["base", "round1"]
    assert parse_params(values).rounds["round2"].start_from == "round1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train.batch_size": 32, "train.mini_batch_size": 32}, "round1.recipe draws 16 train questions, fewer than"),
        ({"rounds.round1.warm_start.batch_size": 17}, "round1.warm_start.batch_size is 17; it must be a multiple"),
        ({"collect.best": 3}, "collect.best is 3, more than train.keep_best keeps"),
        ({"collect.best": 2}, "collect.best is 2, but train.steps (2) and train.save_every (2) make 1 checkpoint(s)"),
        (
            {"collect.steps": [1, 2]},
            "collect.steps names 1, which train.save_every (2) and train.steps",
        ),
        (
            {"collect.steps": [2, 8], "train.steps": 8},
            "may be removed: set train.keep_best to 4, or",
        ),
        ({"cluster.address": "10.0.0.1:6379"}, "chat.base_url is local, which a cluster's workers cannot reach"),
        ({"cluster.address": "http://10.0.0.1:8265"}, "cluster.address: String should match pattern"),
        ({"train.nnodes": 2}, "train.nnodes is above 1, which needs cluster.address"),
        ({"merge.weights": [0.5, 0.5]}, "merge.weights has 2 numbers, but collect takes 1 checkpoints"),
        (
            {"train.steps": 4, "collect.best": 2, "merge.weights": [1.0]},
            "merge.weights has 1 numbers, but collect takes 2 checkpoints",
        ),
        ({"train.overlong_tokens": 33}, "train.overlong_tokens is 33, but a response has at most 32"),
    ],
)
def test_a_round_that_could_not_train_is_refused_before_it_starts(changes: dict[str, Any], expected: str) -> None:
    values: dict[str, Any] = copy.deepcopy(DEFAULT)
    for key, value in changes.items():
        section = values
        *path, last = key.split(".")
        for part in path:
            section = section[part]
        section[last] = value
    assert expected in error_of(values)


INFINITE, NAN = float("inf"), float("nan")
ADDRESSES = ("chat.base_url", "cluster.job_server", "reward.judge.base_url")


@pytest.mark.parametrize("key", ADDRESSES)
@pytest.mark.parametrize(
    "address", ["", "host/v1", "ftp://host/v1", "http://", "http://host:99999/v1", "http://host:x/v1", "http://[::1/v1"]
)
def test_an_address_must_be_http_with_a_host_and_a_port_that_exists(key: str, address: str) -> None:
    assert f"{key}: must look like http://host:port/v1" in error_of(_with_judge(key, address)).replace(
        "is not a URL", "must look like http://host:port/v1"
    )


@pytest.mark.parametrize("key", [*ADDRESSES, "tracking.uri"])
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://me:hunter2@host/v1", "holds a user or password"),
        ("https://hunter2@host/v1", "holds a user or password"),
        ("https://host/v1?api_key=hunter2", "holds a query string"),
        ("https://host/v1#hunter2", "holds a query string"),
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_shown(key: str, address: str, expected: str) -> None:
    message = error_of(_with_judge(key, address))
    assert f"{key}: {expected}" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("key", ["chat.api_key_env", "reward.judge.api_key_env"])
@pytest.mark.parametrize("value", ["sk-proj-hunter2", "hf_hunter2", "AKIAIOSFODNN7EXAMPLE", "MY KEY", "gsk2hunter2"])
def test_a_key_instead_of_the_name_of_its_variable_is_refused_and_not_shown(key: str, value: str) -> None:
    message = error_of(_with_judge(key, value))
    assert f"{key}: must name an environment variable" in message
    assert value not in message


@pytest.mark.parametrize("value", ["OPENAI_API_KEY", "", "KEY", "_MY_KEY2", "A_VERY_LONG_NAME_OF_A_VARIABLE"])
def test_names_of_variables_are_accepted(value: str) -> None:
    assert parse_params(with_value("chat.api_key_env", value)).chat.api_key_env == value


@pytest.mark.parametrize(
    "key", ["chat.deadline_s", "chat.timeout_s", "retrieval.fit.l2", "rank.temperature", "train.learning_rate"]
)
@pytest.mark.parametrize("value", [INFINITE, -INFINITE, NAN])
def test_numbers_are_finite(key: str, value: float) -> None:
    assert f"{key}: Input should be a finite number" in error_of(with_value(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("retrieval.weights.dense", INFINITE),
        ("retrieval.fit.default_weights", {"date": NAN}),
        ("merge.weights", [INFINITE]),
        ("train.steps", 10**30),
        ("seed", 10**4000),
        ("chat.deadline_s", 1e300),
    ],
)
def test_what_no_stage_could_use_is_refused(key: str, value: Any) -> None:
    message = error_of(with_value(key, value))
    assert key in message
    assert len(message) < 300


def test_a_later_round_tests_on_no_question_that_an_earlier_one_may_have_trained_on() -> None:
    values = copy.deepcopy(DEFAULT)
    later = copy.deepcopy(values["rounds"]["round1"]) | {"start_from": "round1"}
    values["rounds"]["round2"] = later
    assert parse_params(values).rounds["round2"].start_from == "round1"
    later["recipe"]["sample"]["test"] = 5
    assert "rounds.round2.recipe.sample.test is 5, but round1" in error_of(values)
    assert "ask for 4 at most, or set test_split: test" in error_of(values)
    later["recipe"]["sample"]["test_split"] = "test"
    assert parse_params(values).rounds["round2"].recipe["sample"].test == 5


def test_very_many_steps_are_checked_at_once() -> None:
    values = with_value("train.steps", 10**8)
    values["collect"]["steps"] = [2, 10**8]
    start = time.process_time()
    assert "set train.keep_best to 50000000" in error_of(values)
    values["collect"]["steps"] = [10**8]
    assert parse_params(values).train.steps == 10**8
    assert time.process_time() - start < 1


def test_a_section_is_missing_as_a_whole() -> None:
    assert "rank: missing" in error_of(without("rank"))


def test_a_list_of_problems_ends() -> None:
    values = with_value("rank", {f"key{number}": number for number in range(1000)})
    message = error_of(values)
    assert message.endswith(" more")
    assert len(message) < 3000


def _with_judge(key: str, value: Any) -> dict[str, Any]:
    """The default with a judge, and one value of it changed."""
    judge = {"base_url": "http://host/v1", "model": "m", "api_key_env": "KEY", "concurrency": 1, "timeout_s": 1.0}
    values = with_value("reward.judge", judge | {"max_retries": 1})
    section = values
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    section[last] = value
    return values


def test_an_adapter_is_watched() -> None:
    message = error_of(with_value("models.base.adapter", "adapters/mine"))
    assert "models.base.watch must be the path, adapters/mine" in message
