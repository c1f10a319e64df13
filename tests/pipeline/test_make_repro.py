"""`make repro` composes from what it is given, keeps that, and refuses what configs/ does not say; DVC only plans."""

import pytest
import yaml
from pipeline_clone import Clone, make_clone

from memsifter.params.compose import composed_from

pytestmark = pytest.mark.slow

PLAN = "DVC_ARGS=--dry data@sample"
# The virtual environment is the one that runs the tests.
MAKE = ("make", "--assume-old=setup")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return make_clone(tmp_path_factory.mktemp("make") / "clone")


def repro(clone: Clone, *arguments: str) -> tuple[int, str]:
    done = clone.run(*MAKE, "repro", *arguments)
    return done.returncode, done.stdout


def test_what_it_was_given_is_kept_for_the_next_time(clone: Clone) -> None:
    code, output = repro(clone, "PROFILE=smoke", "ARGS='chat.model=my model' rank.max_ranked=5", PLAN)
    assert code == 0, output
    params = clone.root / "params.yaml"
    assert composed_from(params) == ["profile=smoke", "chat.model=my model", "rank.max_ranked=5"]
    written = params.read_text()
    values = yaml.safe_load(written)
    assert (values["profile"], values["chat"]["model"], values["rank"]["max_ranked"]) == ("smoke", "my model", 5)
    code, output = repro(clone, PLAN)
    assert code == 0, output
    assert "Running stage 'data@sample'" in output
    assert params.read_text() == written


def test_an_edit_that_the_other_side_does_not_know_stops_it(clone: Clone) -> None:
    assert clone.run(*MAKE, "params").returncode == 0
    profile = clone.root / "configs" / "profile" / "local.yaml"
    before = profile.read_text()
    profile.write_text(before.replace("candidate_order: similarity", "candidate_order: chronological"))
    code, output = repro(clone, PLAN)
    profile.write_text(before)
    assert code != 0
    (line,) = (line for line in output.splitlines() if line.startswith("memsifter: error: "))
    assert "disagree: rank.candidate_order ('similarity' in params.yaml, 'chronological' in configs/)" in line
    assert "`make params` composes anew" in line
    assert "Running stage" not in output


def test_a_wrong_value_stops_it_before_any_stage(clone: Clone) -> None:
    for argument in ("rank.max_ranked=0", "rank.prompts.chat=nothing", "train.overrides=['a=[']"):
        code, output = repro(clone, f'ARGS="{argument}"', PLAN)
        assert code != 0
        assert len([line for line in output.splitlines() if line.startswith("memsifter: error: ")]) == 1, output
        assert "Running stage" not in output
