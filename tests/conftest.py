import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline_clone import Clone

# `make test` starts pytest: a `make` that a test starts is a user's own, not a recursive one of that.
for _variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(_variable, None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark files that the project may not ship; tests that need them skip without them."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("real benchmark data is not on this machine")
    return path


@pytest.fixture(scope="session")
def coarse_source(tmp_path_factory: pytest.TempPathFactory) -> "Clone":
    """Run once for all pipeline tests of a process; they copy it and do not change it."""
    from pipeline_clone import run_coarse_filter

    return run_coarse_filter(tmp_path_factory.mktemp("coarse_source") / "clone")
