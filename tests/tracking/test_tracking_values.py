import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from memsifter.errors import MemSifterError
from memsifter.io.display import mask_credentials
from memsifter.params import Params
from memsifter.tracking.values import clean_metrics, clean_name, flatten, flatten_params


def test_parameters_become_dotted_names_and_plain_text(params: Params) -> None:
    flat = flatten_params(params)
    assert flat["profile"] == params.profile
    assert flat["rank.engine.max_model_len"] == str(params.rank.engine.max_model_len)
    assert flat["evaluate.judge"] == "null"
    assert flat["rank.structured_output"] in ("true", "false")
    assert flat["matrix.rankers"] == '["fitted", "coarse", "base", "round1"]'
    assert flat["datasets.private.train_haystacks"] == "[]"


def test_keys_may_be_dotted_as_in_the_lock_file() -> None:
    locked = {"seed": 7, "rank.engine": {"dtype": "float32", "limits": {}}}
    assert flatten(locked) == {"seed": "7", "rank.engine.dtype": "float32", "rank.engine.limits": "{}"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pw@host:5000/path", "https://***@host:5000/path"),
        ("https://token@host/path@v1", "https://***@host/path@v1"),
        ("postgresql+psycopg://user:p@s/s?x@host/db", "postgresql+psycopg://***@host/db"),
        ("https://host/path@v1", "https://host/path@v1"),
        ("https://host/file?token=abc&part=2#end", "https://host/file?token=***&part=***#end"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("what is 2? a=b & c=d", "what is 2? a=b & c=d"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_credentials_in_uris_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=400))
def test_every_name_becomes_one_that_mlflow_accepts(name: str) -> None:
    cleaned = clean_name(f"m{name}")
    assert re.fullmatch(r"[\w.\- /]{1,250}", cleaned)


def test_the_usual_metric_names_pass_mlflows_own_check() -> None:
    for name in ("ndcg@10", "test/sample/base/recall@5", "f1 (judge)", "r²", "coût %"):
        _validate_metric_name(clean_name(name))
    assert clean_name("test/sample/base/ndcg@10") == "test/sample/base/ndcg_at_10"


def test_numpy_numbers_are_metrics() -> None:
    assert clean_metrics({"a": np.float32(0.5), "b": np.int64(3), "c": 2}) == {"a": 0.5, "b": 3.0, "c": 2.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.5", np.float64("nan")])
def test_what_is_no_finite_number_is_refused_by_name(value: float) -> None:
    with pytest.raises(MemSifterError, match="metric ndcg@10 is "):
        clean_metrics({"mrr": 1.0, "ndcg@10": value})


def test_two_metrics_must_not_become_one() -> None:
    with pytest.raises(MemSifterError, match="ndcg_at_10"):
        clean_metrics({"ndcg@10": 0.1, "ndcg_at_10": 0.2})
