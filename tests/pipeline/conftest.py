import pytest
from pipeline_clone import Clone, make_clone, stages_run

COARSE_STAGES = frozenset({"models@embedder", "data@sample", "embed@sample", "evaluate_coarse@sample"})


@pytest.fixture(scope="session")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the stages that need no LLM have run, committed. Tests copy it or leave it as it is."""
    clone = make_clone(tmp_path_factory.mktemp("coarse") / "clone")
    clone.compose("profile=smoke")
    assert stages_run(clone.check("dvc", "repro", "evaluate_coarse@sample")) == COARSE_STAGES
    clone.check("git", "add", "--all")
    clone.check("git", "commit", "--quiet", "--message", "coarse filter")
    return clone
