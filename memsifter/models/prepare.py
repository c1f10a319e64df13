"""Resolve a model reference to a directory that transformers and vLLM load."""

import logging
import shutil
import tempfile
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, sha256_file
from memsifter.io.paths import ROOT
from memsifter.models.conversion import check_model, convert_gguf, convert_torch_weights
from memsifter.models.references import HubReference, PathReference, TinyReference, WheelReference, parse_reference
from memsifter.models.wheel import extract_member
from memsifter.params import ModelParams

logger = logging.getLogger(__name__)

# What a repository of the hub may bring: weights, configs and tokenizers; no ONNX or TensorFlow twins, no code.
_HUB_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*_linear.pt", "pytorch_model.bin"]


def prepare_model(params: ModelParams, out: Path) -> None:
    """Write the model to `out`, whole or not at all.

    Raises:
        MemSifterError: the reference is wrong, the source cannot be reached, a hash differs, or the result is no model.
    """
    reference = parse_reference(params.ref)
    if isinstance(reference, TinyReference):
        # Imported here: it needs torch and transformers, which take seconds.
        from memsifter.models.tiny import write_tiny_model

        write_tiny_model(out, reference.seed)
        return
    with tempfile.TemporaryDirectory(prefix="memsifter-model-") as scratch, atomic_directory(out) as temporary:
        if isinstance(reference, PathReference):
            source = _local_source(reference, params.sha256)
        elif isinstance(reference, WheelReference):
            source = Path(scratch)
            extract_member(reference, params.sha256, source)
        elif params.sha256 is not None:
            raise MemSifterError(
                f"model reference {params.ref}: sha256 applies to a single file; set it to null, and name a commit "
                "after @ to pin the repository"
            )
        else:
            source = Path(scratch)
            _download_repository(reference, source)
        _fill(source, temporary)
        check_model(temporary)


def _fill(source: Path, out: Path) -> None:
    """Copy or convert what `source` (a directory or a GGUF file) holds."""
    files = [source] if source.is_file() else sorted(path for path in source.iterdir() if path.is_file())
    if len(files) == 1 and files[0].suffix == ".gguf":
        convert_gguf(files[0], out)
        return
    shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "*.md"))
    if (out / "pytorch_model.bin").is_file():
        if any(out.glob("*.safetensors")):
            (out / "pytorch_model.bin").unlink()
        else:
            convert_torch_weights(out)


def _local_source(reference: PathReference, sha256: str | None) -> Path:
    source = ROOT / Path(reference.path).expanduser()
    if not source.exists():
        raise MemSifterError(f"model reference path:{reference.path}: {source} does not exist")
    if source.is_file() and source.suffix != ".gguf":
        raise MemSifterError(f"model reference path:{reference.path}: give a model directory or a .gguf file")
    if sha256 is not None:
        if not source.is_file():
            raise MemSifterError(
                f"model reference path:{reference.path}: sha256 applies to a single file; set it to null"
            )
        if (found := sha256_file(source)) != sha256:
            raise MemSifterError(f"{source}: sha256 is {found}, expected {sha256}")
    return source


def _download_repository(reference: HubReference, out: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    logger.info("downloading hf:%s", reference.repository)
    try:
        snapshot_download(
            reference.repository, revision=reference.revision, local_dir=out, allow_patterns=_HUB_PATTERNS
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise MemSifterError(
            f"cannot download hf:{reference.repository} ({reason}); check the name and the network, or fetch it "
            "elsewhere and use path:DIR"
        ) from error
