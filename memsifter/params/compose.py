"""Composing `params.yaml` from `configs/`.

`dvc exp run` does this by itself; `dvc repro` takes `params.yaml` as it is. Both use DVC's own composition, so the
values are the same either way. What we compose begins with a line that names the overrides, so that `make repro` can
tell whether the file still is what `configs/` composes to. `configs/config.yaml` starts from the defaults of the typed
parameters, which Hydra finds as a config of their own.
"""

import difflib
import json
import re
import reprlib
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_file
from memsifter.io.paths import ROOT
from memsifter.params.base import Section
from memsifter.params.load import PARAMS_FILE, load_params, read_yaml
from memsifter.params.tree import Params

RESULTS = ROOT / "results"
LIKELIHOODS = ROOT / "data" / "likelihoods"
CONFIGS = ROOT / "configs"
DEFAULTS = "typed_defaults"  # the name under which configs/config.yaml lists the defaults
_RESULT_FILES = {"metrics.json", "questions.parquet", "table.csv", ".gitignore"}  # of stages, and DVC's beside them
_HEAD = "# composed: "
_MOST_SHOWN = 8
_NOTE = "# Written by `make params` and `make repro` from configs/; edit those, or give ARGS. What ARGS were:\n"


def compose(overrides: list[str], check: Callable[[Params], None] | None = None) -> Params:
    """Compose, validate and write `params.yaml`; a wrong override leaves the old file as it was.

    Args:
        overrides: Hydra overrides, such as `profile=gpu` or `rank.max_ranked=5`.
        check: what the parameters must pass as well before they are written; raises MemSifterError.

    Raises:
        MemSifterError: an override does not fit the configs, or the result is not valid.
    """
    with atomic_file(PARAMS_FILE) as temporary:
        composed = _compose_to(temporary, overrides)
        params = load_params(temporary)
        if check:
            check(params)
        temporary.write_text(f"{_NOTE}{_HEAD}{json.dumps(overrides, ensure_ascii=False)}\n{composed}", encoding="utf-8")
    _remove_old_results(params)
    return params


def check_current() -> Params:
    """The parameters of `params.yaml`, which must be what `configs/` composes to for the overrides in its head.

    A file without a head, which `dvc exp run` writes, is compared with the default.

    Raises:
        MemSifterError: it is not, or it is not valid; names the parameters that differ and what to do.
    """
    params = load_params(PARAMS_FILE)
    overrides = composed_from(PARAMS_FILE)
    with tempfile.TemporaryDirectory() as folder:
        composed = Path(folder) / "params.yaml"
        try:
            _compose_to(composed, overrides)
        except MemSifterError as error:
            raise MemSifterError(
                f"params.yaml was composed from {' '.join(overrides)}, which configs/ no longer composes ({error})"
            ) from error
        now, kept = leaves(read_yaml(composed)), leaves(read_yaml(PARAMS_FILE))
    differing = sorted(key for key in now.keys() | kept.keys() if now.get(key, ...) != kept.get(key, ...))
    if differing:
        edits = [f"{key}={json.dumps(kept[key], ensure_ascii=False)}" for key in differing if key in kept]
        raise MemSifterError(
            f"params.yaml and configs/ disagree: {_compare(differing, kept, now)}. Was configs/ edited, or did "
            f"`dvc exp` write params.yaml: `{make_command('params', overrides)}` composes anew. Was params.yaml edited "
            f"by hand: give the edit as ARGS, `{make_command('repro', [*overrides, *edits[:_MOST_SHOWN]])}`. "
            "`dvc repro` runs params.yaml as it is"
        )
    return params


def _compare(keys: list[str], kept: dict[str, Any], now: dict[str, Any]) -> str:
    """The values of some keys in params.yaml and in what configs/ composes to."""
    shown = [
        f"{key} ({reprlib.repr(kept.get(key, 'nothing'))} in params.yaml, {reprlib.repr(now.get(key, 'nothing'))} in "
        "configs/)"
        for key in keys[:_MOST_SHOWN]
    ]
    return ", ".join(shown) + (f" and {len(keys) - _MOST_SHOWN} more" if len(keys) > _MOST_SHOWN else "")


def composed_from(path: Path) -> list[str]:
    """The overrides that the head of a params.yaml names; none where it has no head.

    Raises:
        MemSifterError: the head was edited and cannot be read.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(_HEAD):
            try:
                overrides = json.loads(line.removeprefix(_HEAD))
            except json.JSONDecodeError:
                overrides = None
            if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
                raise MemSifterError(f"{path}: the line {_HEAD.strip()!r} is not a list of texts; run `make params`")
            return overrides
        if not line.startswith("#"):
            break
    return []


def make_command(target: str, overrides: list[str]) -> str:
    """`make` with these overrides, as typed in a shell: quoted for that shell, and for the one that make starts."""
    profiles = [item.removeprefix("profile=") for item in overrides if item.startswith("profile=")]
    others = " ".join(shlex.quote(item) for item in overrides if not item.startswith("profile="))
    words = ["make", target]
    words += [f"PROFILE={profile}" for profile in profiles]
    words += [f"ARGS={shlex.quote(others.replace('$', '$$'))}"] if others else []
    return " ".join(words)


def _compose_to(path: Path, overrides: list[str]) -> str:
    """Compose without validation into `path`; the text."""
    # Imported here: DVC and Hydra take half a second, which every command would wait for.
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    register_defaults()
    _check_overrides(overrides)
    target = path.with_name(f"{path.name}.composed.yaml")  # DVC goes by the ending
    try:
        compose_and_dump(target, str(CONFIGS), None, "config", str(CONFIGS), overrides)
        target.replace(path)
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise MemSifterError(f"cannot compose params.yaml: {_explain(' '.join(str(error).split()))}") from error
    finally:
        target.unlink(missing_ok=True)
    return path.read_text(encoding="utf-8")


def _check_overrides(overrides: list[str]) -> None:
    """Hydra's grammar refuses many characters outside of quotes; its error for them speaks of tokens."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        key, equals, value = override.partition("=")
        try:
            parser.parse_override(override)
        except (HydraException, ValueError, RecursionError) as error:
            problem = f"cannot read the override {_without_address(override)!r}"
            if not equals:
                raise MemSifterError(f"{problem}: write key=value") from error
            quoted = f"{key}={json.dumps(value.strip(chr(34)), ensure_ascii=False)}"
            raise MemSifterError(
                f"{problem}: a value with spaces or special characters is put in quotes, which the shell must not "
                f"take away: {_without_address(make_command('params', [quoted]))}, or dvc exp run -S "
                f"{_without_address(shlex.quote(quoted))}"
            ) from error


def _explain(message: str) -> str:
    """Hydra's message; for a key that is nearly one of ours, that one instead of the advice to add it."""
    found = re.match(r"Could not override '([\w.]+)'", message)
    close = difflib.get_close_matches(found[1], leaves(default_values(Params)), n=1) if found else []
    return f"{found[1]}: unknown key; did you mean {close[0]}?" if found and close else message


def _without_address(text: str) -> str:
    """A text for an error message; an address in it may hold a password."""
    head, separator, _ = text[:300].partition("://")
    return f"{head}://…" if separator else text[:300]


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Values by dotted key; lists and empty sections are values."""
    if not isinstance(value, dict) or (key and not value):
        return {key: value}
    return {
        path: leaf
        for name, item in value.items()
        for path, leaf in leaves(item, f"{key}.{name}" if key else str(name)).items()
    }


def _remove_old_results(params: Params) -> None:
    """Results of rankers and datasets that left the matrix, and likelihoods that no longer count.

    Stages depend on the folders of both. Git and DVC have what is removed; a folder with a file of another name, which
    somebody else has put there, stays.
    """
    for file in LIKELIHOODS.glob("*.parquet"):
        if file.stem not in params.retrieval.likelihood.datasets:
            file.unlink()
    for directory in (path for path in RESULTS.glob("*/*") if path.is_dir() and not path.is_symlink()):
        method, dataset = directory.parts[-2:]
        left = dataset not in params.matrix.datasets or method not in ("orders", *params.matrix.rankers)
        if left and {path.name for path in directory.iterdir()} <= _RESULT_FILES:
            shutil.rmtree(directory)


def register_defaults() -> None:
    """Let Hydra find the defaults by their name."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(DEFAULTS, default_values(Params))


def default_values(section: type[Section]) -> dict[str, Any]:
    """Every parameter of a section that has a default, as plain values for YAML; sections in it likewise."""
    values: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        kind = field.annotation
        if not field.is_required():
            values[name] = _plain(field.get_default(call_default_factory=True, validated_data={}))
        elif isinstance(kind, type) and issubclass(kind, Section):
            values[name] = default_values(kind)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value
