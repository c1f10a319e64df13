"""One hash for a model, so that what a model computed can be cached by content."""

from pathlib import Path

from memsifter.files import sha256_file, sha256_json


def fingerprint_model(directory: Path) -> str:
    """Hex SHA-256 over the files of a model directory: weights, configs, tokenizer; names count, times do not.

    A model card is left out: it says what the model is and changes nothing that the model computes.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "README.md")
    return sha256_json({path.relative_to(directory).as_posix(): sha256_file(path) for path in files})
