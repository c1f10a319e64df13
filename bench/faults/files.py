"""Damaged files: one line that names the file, or the right result."""

import copy
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from damaged_data import LAYOUTS, ODD_VALUES, READERS, check_outcome, count_questions, paths_of, rows_of

from bench.faults.damage import IN_PLACE, damage_bytes
from bench.faults.outcome import Campaign, HungError, describe_problem, time_limit
from bench.faults.toy_stages import CASES, Case, make_outs, run_case
from memsifter.corpus.records import Refusal, validate
from memsifter.datasets.perltqa import PerLtqaReader
from memsifter.datasets.personamem import PersonaMemReader
from memsifter.datasets.personamem_v2 import PersonaMemV2Reader
from memsifter.errors import DataError, MemSifterError
from memsifter.io.text_cache import TextCache
from memsifter.models.check import check_model
from memsifter.models.tiny import write_tiny_model

_SECONDS = 20.0
_FOLDERS: dict[str, Callable[[], Any]] = {
    "perltqa_en": PerLtqaReader,
    "perltqa_zh": PerLtqaReader,
    "personamem": PersonaMemReader,
    "personamem_v2": PersonaMemV2Reader,
}


def run_files(count: int, seed: int) -> Campaign:
    """Try about `count` damaged files: half are datasets, the others outs, models and caches."""
    campaign = Campaign("files", f"python -m bench.faults files --count {count} --seed {seed}")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count // 2):
            reader = [*READERS, *_FOLDERS][number % (len(READERS) + len(_FOLDERS))]
            place = folder / f"data{number}"
            place.mkdir()
            try_case = _read_folder if reader in _FOLDERS else _read_file
            _try(campaign, f"dataset {reader}", f"case {number}", lambda: try_case(reader, place, rng))  # noqa: B023
        good = make_outs(folder / "good")
        for number in range(count // 3):
            case = CASES[number % len(CASES)]
            _try(campaign, f"out {case.file}", f"case {number}", lambda: _run_stage(case, good, folder, rng))  # noqa: B023
        write_tiny_model(folder / "model")
        for number in range(count // 10):
            _try(campaign, "model", f"case {number}", lambda: _check_model(folder, rng))
        for number in range(count - count // 2 - count // 3 - count // 10):
            _try(campaign, "cache of texts", f"case {number}", lambda: _read_cache(folder / f"cache{number}", rng))  # noqa: B023
    return campaign


def _try(campaign: Campaign, kind: str, repeat: str, case: Callable[[], str]) -> None:
    """Run one case, which returns how it ended, or raises the error that the user would see."""
    try:
        with time_limit(_SECONDS):
            outcome = case()
    except (Exception, HungError) as error:
        problem = describe_problem(error) or f"the file is not named: {error}"
        campaign.fail(kind, f"{repeat}: {problem}")
    else:
        campaign.count(kind, outcome)


def _refusal(error: MemSifterError, *names: str) -> str:
    """How a refusal ends; raises the error again if it is no good one."""
    if describe_problem(error) or not any(name in str(error) for name in names):
        raise error
    return "refused in one line"


def _read_file(reader: str, place: Path, rng: random.Random) -> str:
    """A dataset of one file: values of another type, keys removed, list items doubled, or damaged bytes."""
    rows, path = rows_of(reader), place / "a.jsonl"
    if rng.random() < 0.4:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(damage_bytes(content, rng)[1])
        accepted, refused = check_outcome(path, reader, None)
    else:
        row = rng.choice(rows)
        *parents, last = rng.choice(list(paths_of(row))[1:])
        holder: Any = row
        for key in parents:
            holder = holder[key]
        damage = rng.choice(["replace", "replace", "remove", "double"])
        if damage == "replace":
            holder[last] = copy.deepcopy(rng.choice(ODD_VALUES))
        elif damage == "remove":
            del holder[last]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        accepted, refused = check_outcome(path, reader, sum(count_questions(reader, row) for row in rows))
    return "refused in one line" if refused else f"read{'' if accepted else ', without questions'}"


def _read_folder(reader: str, place: Path, rng: random.Random) -> str:
    """A dataset of several files, the bytes of one of them damaged."""
    files = sorted(path for path in (LAYOUTS / reader).rglob("*") if path.is_file())
    chosen = rng.choice(files)
    for path in files:
        copied = place / path.relative_to(LAYOUTS / reader)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(damage_bytes(path.read_bytes(), rng)[1] if path == chosen else path.read_bytes())
    try:
        refusals = [str(record) for record in validate(_FOLDERS[reader]().read(place)) if isinstance(record, Refusal)]
    except DataError as error:
        return _refusal(error, *(path.name for path in files))
    if unnamed := [text for text in refusals if not any(path.name in text for path in files)]:
        raise MemSifterError(unnamed[0])
    return "refused in one line" if refusals else "read"


def _run_stage(case: Case, good: Path, folder: Path, rng: random.Random) -> str:
    damage, path, same = run_case(case, good, folder / "toy", rng)
    if isinstance(same, MemSifterError):
        names = (path.name, str(path.parent), f"dataset {path.stem}", "question '")
        return _refusal(same, *names)
    if same:
        return "the right result"
    if damage in IN_PLACE:
        return "other values, which only DVC's hashes tell"
    raise AssertionError(f"{case.stage} took {path.name} ({damage}) and gave another result")


def _check_model(folder: Path, rng: random.Random) -> str:
    """A whole model with one file damaged. What is no longer a model is refused; harmless damage may pass."""
    place = folder / "damaged_model"
    place.mkdir(exist_ok=True)
    files = sorted(path for path in (folder / "model").iterdir() if path.is_file())
    chosen = rng.choice(files)
    for path in files:
        content = path.read_bytes()
        (place / path.name).write_bytes(damage_bytes(content, rng)[1] if path == chosen else content)
    try:
        check_model(place)
    except MemSifterError as error:
        return _refusal(error, chosen.name, str(place))
    return f"{chosen.suffix} still loads"


def _read_cache(place: Path, rng: random.Random) -> str:
    """The cache of texts with its database damaged: the text, none, or one line."""
    cache = TextCache(place)
    texts = {f"k{number}": f"text {number} " + "x" * rng.choice((10, 100_000)) for number in range(20)}
    for key, text in texts.items():
        cache.put(key, text)
    cache.close()
    files = sorted(path for path in place.rglob("*") if path.is_file())
    chosen = place / "cache.db" if rng.random() < 0.6 else rng.choice(files)
    if rng.random() < 0.1:
        chosen.unlink()
    else:
        chosen.write_bytes(damage_bytes(chosen.read_bytes(), rng)[1])
    try:
        again = TextCache(place)
        found = {key: again.get(key) for key in texts}
        again.put("new", "text")
        again.close()
    except MemSifterError as error:
        return _refusal(error, str(place))
    wrong = [key for key, text in found.items() if text not in (None, texts[key])]
    return "other values, which only a check of the reply tells" if wrong else "known or asked again"
