from pathlib import Path

import pytest

from memsifter.models.tiny import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing, with a byte-level tokenizer."""
    directory = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(directory, seed=7)
    return directory
