import pytest
from pipeline_clone import Clone, make_clone


@pytest.fixture(scope="session")
def coarse_source(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the stages that need no LLM have run, committed; made once, to be copied and not to be changed."""
    clone = make_clone(tmp_path_factory.mktemp("coarse_source") / "clone")
    clone.compose("profile=smoke")
    clone.check("dvc", "repro", "evaluate_coarse@sample")
    clone.check("git", "add", "--all")
    clone.check("git", "commit", "--quiet", "--message", "coarse filter")
    return clone
