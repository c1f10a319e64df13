"""Whether a directory is a whole model: every file readable, every tensor of the architecture there, a tokenizer."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json

logger = logging.getLogger(__name__)

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Many encoders are published without their pooling layer, which neither mean nor CLS pooling uses.
_OPTIONAL = re.compile(r"(?:.*\.)?pooler\..+")
_SHOWN = 3


def check_model(directory: Path) -> None:
    """Refuse a directory that transformers and vLLM could not load, or only with weights missing.

    Weights are compared with the architecture by names and shapes; their values are not read, so memory does not grow
    with the model.

    Raises:
        MemSifterError: a file is a git-lfs pointer, cut or broken; config, tokenizer or weights are missing; a tensor
            of the architecture is missing or has another shape; the model needs code of its own. The message names
            the file.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            refuse_lfs_pointer(path)
    config = read_config(directory)
    _check_tokenizer(directory)
    _check_files(directory)
    if "quantization_config" in config:
        logger.warning("%s: quantised weights are not compared with the architecture", directory)
        return
    _check_tensors(directory)


def refuse_lfs_pointer(path: Path) -> None:
    """Refuse the few lines that git-lfs leaves where a file was not fetched.

    Raises:
        MemSifterError: names the file.
    """
    with path.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
    if start == _LFS_POINTER:
        raise MemSifterError(f"{path}: a git-lfs pointer, not the file itself; fetch it with git lfs pull")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what matters of them is raised as an error."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


def describe_missing(info: dict[str, Any]) -> str | None:
    """What weights lack of their architecture, from transformers' `output_loading_info`; None if nothing."""
    if missing := sorted(name for name in info["missing_keys"] if not _OPTIONAL.fullmatch(name)):
        extra = sorted(info["unexpected_keys"])
        instead = f"; it has {_list(extra)} instead" if extra else ""
        return f"lacks {len(missing)} tensor(s) of the architecture ({_list(missing)}){instead}"
    if mismatched := sorted(info["mismatched_keys"], key=lambda entry: str(entry[0])):
        name, found, expected = mismatched[0]
        return f"{name} has shape {list(found)}, in the architecture {list(expected)}"
    return None


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def read_config(directory: Path) -> dict[str, Any]:
    """The content of a model's `config.json`.

    Raises:
        MemSifterError: it is missing, broken, or asks for code of the model's own.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise MemSifterError(f"{directory}: no config.json; this is not a Hugging Face model directory")
    config = read_json(path)
    if not isinstance(config, dict):
        raise MemSifterError(f"{path}: not a JSON object; this is not a model's configuration")
    if "auto_map" in config:
        raise MemSifterError(f"{path}: the model needs code of its own (auto_map), which is not run")
    return config


def _check_tokenizer(directory: Path) -> None:
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.txt")):
        raise MemSifterError(
            f"{directory}: no tokenizer beside the weights (tokenizer.json, tokenizer.model or vocab.txt)"
        )
    # Imported here: transformers takes seconds to load, and a missing file should be reported at once.
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare exceptions for damaged files
        raise MemSifterError(f"{directory}: the tokenizer cannot be loaded ({shorten(error)})") from error
    if len(tokenizer) < 2:
        raise MemSifterError(f"{directory}: the tokenizer has no vocabulary; some of its files are missing")


def _check_files(directory: Path) -> None:
    """Open every safetensors file: the format's reader compares its header with its size."""
    from memsifter.models.weights import open_weights, read_headers

    open_weights(directory)
    for file in sorted(directory.rglob("*.safetensors")):  # also those of further modules, such as 2_Dense/
        read_headers(file)


def _check_tensors(directory: Path) -> None:
    """Load on the meta device, with all the renaming that transformers does, but without memory for weights."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        architecture = _find_architecture(config)
        tied = _tied_names(architecture, config)
        # Stored copies of tied tensors would be compared, which tensors without values cannot be.
        config.get_text_config().tie_word_embeddings = config.tie_word_embeddings = False
        with quiet_transformers():
            _, info = architecture.from_pretrained(
                directory,
                config=config,
                device_map="meta",
                dtype="auto",
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a library raises for a damaged or unknown model
        raise MemSifterError(
            f"{directory / 'config.json'}: transformers cannot load a model of this config ({shorten(error)})"
        ) from error
    if problem := describe_missing(info | {"missing_keys": set(info["missing_keys"]) - tied}):
        raise MemSifterError(f"{directory}: the weights do not fit config.json: {problem}")


def _find_architecture(config: Any) -> Any:
    """The transformers class whose tensors are used: of encoders, not the head that some were trained with."""
    import transformers

    if not config.architectures:
        return transformers.AutoModel
    name = config.architectures[0]
    architecture: Any = getattr(transformers, name, None)
    if not _is_model(architecture):
        raise ValueError(f"no architecture {name!r}")
    return architecture if architecture.can_generate() or name.endswith("Model") else transformers.AutoModel


def _tied_names(architecture: Any, config: Any) -> set[str]:
    """Parameters that need not be stored because they share the tensor of another one."""
    import torch

    from memsifter.models.weights import tied_parameters

    with torch.device("meta"):
        model = architecture(config) if _is_model(architecture) else architecture.from_config(config)
    return set(tied_parameters(model))


def _is_model(value: object) -> bool:
    from transformers import PreTrainedModel

    return isinstance(value, type) and issubclass(value, PreTrainedModel)


def shorten(error: Exception) -> str:
    """An error's message as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
