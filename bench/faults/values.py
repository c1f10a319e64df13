"""Bad values of parameters: each is refused in one line, or accepted and valid. Nothing else may happen."""

import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from bench.faults.outcome import Campaign, HungError, describe_problem, time_limit
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Params, compose
from memsifter.params.load import parse_params, read_yaml
from memsifter.preflight import check_files

_SECONDS = 2.0
_SECRET = "hunter2secret"  # noqa: S105 - looked for in every message
_COMPOSED = 0.02  # of all cases; to compose takes a hundred times as long as to validate
_DAMAGED = 0.2

# Never right for any parameter.
REFUSED: dict[str, Any] = {
    "a section": {"odd": {"deeper": 1}},
    "a section for a section": {"odd": 1},
    "a key that is no text": {1: 2, None: 3},
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "lists in a list": [[["a"], 1], {}],
    "a password in an address": f"https://me:{_SECRET}@host.example/v1",
    "a key in a query": f"https://host.example/v1?api_key={_SECRET}",
    "bytes": b"\xff\x00",
    "a set": {1, "a"},
    "a huge number": 10**400,
    "a number of 5,000 digits": 10**4999,
}
# Right for some.
ODD: dict[str, Any] = {
    "nothing": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "a large number": 10**8,
    "a number beyond 64 bits": 2**70,
    "a small fraction": 1e-320,
    "a fraction": 0.5,
    "a float for an integer": 3.0,
    "a huge float": 1e308,
    "a negative float": -1e-9,
    "empty text": "",
    "blank text": " \t",
    "a number as text": "12",
    "a word": "yes",
    "unicode": "Ünï-昨天-\u200d-\U0001d554",
    "right to left": "\u202eabc\u2066",
    "control characters": "a\x00\x07\x1b[31mb",
    "lines": "a\nb\r\nc\u2028d",
    "half a surrogate": "a\ud83e",
    "long text": "x" * 100_000,
    "a path out": "../../../etc/passwd",
    "an interpolation": "${oc.env:HOME}",
    "a format": "{question} {0.__class__} %s",
    "a shell": "$(touch /tmp/x); `id` 'quote\" it''s",
    "an address": "http://127.0.0.1:8000/v1",
    "a bad port": "http://host.example:99999/v1",
    "no address": "http://[::1/v1",
    "another scheme": "file:///etc/passwd",
    "an empty list": [],
    "an empty section": {},
    "a list of numbers": [1, 2, 2],
    "negative numbers": [-1, 0, 1e308],
    "a list of nothing": [None],
    "a list of texts": ["a", "", "a"],
    "a list of odd texts": ["\x1b]0;x\x07", "\ud800", "=cmd|' /C calc'!A0"],
    "overrides": ["a=b", "+c.d=[1,2", "~e", "x=1,2", "===", "a=${b", f"k=https://u:{_SECRET}@h"],
    "a thousand values": list(range(1000)),
}


def run_values(count: int, seed: int) -> Campaign:
    """Try `count` cases over all profiles; which ones depends on the seed alone."""
    campaign = Campaign("values", f"python -m bench.faults values --count {count} --seed {seed}")
    profiles = sorted(path.stem for path in (ROOT / "configs" / "profile").glob("*.yaml"))
    composed = round(count * _COMPOSED)
    damaged = round(count * _DAMAGED)
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        trees = {profile: _compose(path, [f"profile={profile}"]) for profile in profiles}
        for kind, repeat, case in _draw_trees(trees, count - composed - damaged, rng):
            _try(campaign, kind, repeat, case)
        for kind, content in _draw_texts(path.read_bytes(), damaged, rng):
            path.write_bytes(content)
            _try(campaign, kind, repr(content[:200]), partial(_read_params, path))
        for kind, overrides in _draw_overrides(trees, composed, rng):
            _try(campaign, kind, repr(overrides)[:300], partial(_compose_params, path, overrides))
    return campaign


def _try(campaign: Campaign, kind: str, repeat: str, case: Callable[[], Params]) -> None:
    """Run one case. A refusal is one line without secrets; what is accepted is whole and finite."""
    try:
        with time_limit(_SECONDS):
            params = case()
            check_files(params)
            problem = _describe_accepted(kind, params)
        outcome = "accepted"
    except MemSifterError as error:
        problem = describe_problem(error)
        if _SECRET in str(error):
            problem = f"the secret is shown: {str(error)[:300]}"
        outcome = "refused in one line"
    except (Exception, HungError) as error:
        problem = describe_problem(error)
    if problem:
        campaign.fail(kind, f"{repeat}: {problem}")
    else:
        campaign.count(kind, outcome)


def _describe_accepted(kind: str, params: Params) -> str | None:
    if kind in REFUSED:
        return "accepted"
    text = json.dumps(params.model_dump(mode="json"), ensure_ascii=True)
    if any(word in text for word in ("NaN", "Infinity", _SECRET)):
        return "accepted with a number that is not finite, or a secret"
    return None if parse_params(json.loads(text)) == params else "accepted, but does not come back from JSON"


def _draw_trees(
    trees: dict[str, Any], count: int, rng: random.Random
) -> Iterator[tuple[str, str, Callable[[], Params]]]:
    """Every leaf and section of every profile with every bad value, removed, or beside an unknown key: a sample."""
    kinds = [*REFUSED, *ODD, "removed", "an unknown key", "a key of 10,000 characters"]
    places = [(profile, path) for profile, tree in trees.items() for path in paths_of(tree)]
    orders = {kind: rng.sample(places, len(places)) for kind in kinds}
    cases = [(kind, *orders[kind][turn]) for turn in range(len(places)) for kind in kinds]
    for kind, profile, path in cases[:count]:
        values = _edit(trees[profile], path, kind)
        yield kind, f"profile={profile}, {'.'.join(path)}", partial(parse_params, values)


def paths_of(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of every section and leaf below the root."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*path, key)
        yield from paths_of(value, (*path, key))


def _edit(tree: Any, path: tuple[str, ...], kind: str) -> Any:
    edited = deepcopy(tree)
    holder = edited
    for key in path[:-1]:
        holder = holder[key]
    if kind == "removed":
        del holder[path[-1]]
    elif kind == "an unknown key":
        holder[f"{path[-1]}x"] = holder.pop(path[-1])
    elif kind == "a key of 10,000 characters":
        holder["k\x1b\n" * 3333] = 1
    else:
        holder[path[-1]] = deepcopy((REFUSED | ODD)[kind])
    return edited


def _draw_texts(whole: bytes, count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """YAML that is damaged: the good file with some bytes changed, and files that are wrong from the start."""
    start = b"seed: 7\n"
    texts: dict[str, bytes] = {
        "YAML: empty": b"",
        "YAML: zeros": b"\0" * 1000,
        "YAML: UTF-16": whole.decode().encode("utf-16"),
        "YAML: latin-1": whole + "a: é\n".encode("latin-1"),
        "YAML: twice": whole + whole,
        "YAML: two documents": whole + b"---\n" + whole,
        "YAML: a list": b"- 1\n- 2\n",
        "YAML: a text": b"just text",
        "YAML: deep lists": start + b"a: " + b"[" * 5000 + b"]" * 5000,
        "YAML: deep sections": start + b"a: " + b"{b: " * 1000 + b"1" + b"}" * 1000,
        "YAML: never closed": start + b"a: " + b"[" * 100_000,
        "YAML: alias bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 110)),
        "YAML: an alias in itself": b"a: &a [*a]\n",
        "YAML: a merge of itself": b"a: &a {<<: *a}\n",
        "YAML: a tag": b"a: !!python/object/apply:os.system ['true']\n",
        "YAML: an unknown tag": b"seed: !secret x\n",
        "YAML: 5,000 digits": b"seed: " + b"9" * 5000 + b"\n",
        "YAML: no date": b"seed: 2024-13-45\n",
        "YAML: a sexagesimal number": b"seed: 1:99:99.5\n",
        "YAML: tabs": b"a:\n\tb: 1\n",
        "YAML: a list as a key": b"? [1, 2]\n: 3\n",
        "YAML: a long line": b"seed: '" + b"x" * 1_000_000 + b"'\n",
        "YAML: control characters": b"seed: \x1b[31m\x07\n",
    }
    yield from list(texts.items())[:count]
    for _ in range(count - len(texts)):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            position = rng.randrange(len(content))
            end = position + rng.choice((0, 0, 1, 8, 60))
            content[position:end] = rng.choice((b"", rng.randbytes(2), b"\n", b":", b"[", b"&a ", b"*a", b"'", b"\t"))
        yield "YAML: bytes changed", bytes(content)


def _draw_overrides(trees: dict[str, Any], count: int, rng: random.Random) -> Iterator[tuple[str, list[str]]]:
    keys = [".".join(path) for tree in trees.values() for path in paths_of(tree)]
    values = ("", "nan", "[1", "{a:1", "'x", "a,b", "ß~ x", "${x}", "${oc.env:HOME}", "1e999", "\x1b", "\ud800", "!!x")
    forms = (
        "{0}={1}",
        "+{0}={1}",
        "++{0}={1}",
        "~{0}",
        "{0}",
        "{0}x={1}",
        "{0}.x.y={1}",
        "={1}",
        "{0}=={1}",
        "@{0}={1}",
    )
    for _ in range(count):
        profile = rng.choice(["profile=smoke", "profile=none", "profile=../x", "profile="])
        override = rng.choice(forms).format(rng.choice(keys), rng.choice(values))
        yield "overrides", [profile, override, f"chat.base_url=https://u:{_SECRET}@h/v1"][: rng.randint(2, 3)]


def _read_params(path: Path) -> Params:
    return parse_params(read_yaml(path))


def _compose_params(path: Path, overrides: list[str]) -> Params:
    return parse_params(_compose(path, overrides))


def _compose(path: Path, overrides: list[str]) -> Any:
    """The tree that configs/ composes to, without touching the repository's params.yaml."""
    nowhere = path.with_name("results")
    with mock.patch.object(compose, "PARAMS_FILE", path), mock.patch.object(compose, "RESULTS", nowhere):
        compose.compose(overrides)
    return read_yaml(path)
