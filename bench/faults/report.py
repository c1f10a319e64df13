"""docs/reliability.md, written from the results of the campaigns."""

from pathlib import Path
from typing import Any

from bench.faults.outcome import load_campaign
from memsifter.io.files import write_text
from memsifter.io.paths import ROOT

RESULTS = ROOT / "docs" / "results" / "reliability"
DOCUMENT = ROOT / "docs" / "reliability.md"
_KINDS_SHOWN = ("kills", "stage_kills")

_CAMPAIGNS = {
    "values": (
        "bad parameters",
        "Every key of every profile with values of wrong type, out of range, huge, not finite, empty, with control "
        "characters, half a surrogate or a secret in an address, removed or misspelt; damaged YAML; broken overrides. "
        "Survived: accepted and valid, or one line that shows no secret, within 2 s of processor time.",
    ),
    "files": (
        "damaged files",
        "Datasets of ten readers, models, caches, and outs that stages read: cut, bits flipped, in another "
        "encoding, values of another type, columns missing, scores that are not finite, files of another dataset. "
        "Survived: one line that names the file, or the right result. Bytes changed inside of a value, which no format "
        "tells, are counted apart: of outs, DVC's hashes tell.",
    ),
    "servers": (
        "kinds of server fault",
        "340 kinds: statuses by bodies by headers, replies that public servers gave, connections dropped, late or cut. "
        "Survived: the same answers and rewards as with a healthy server, or the failure is told, and nothing scored.",
    ),
    "kills": (
        "kills",
        "SIGKILL to the whole process group of a run of profile `smoke` at random moments, again and again. Survived: "
        "the process tree ends, and the run that finally finishes has the same dvc.lock and the same bytes in every "
        "out as one never disturbed, leaves no temporary file beside an out, and no run in MLflow that seems to go on.",
    ),
    "stage_kills": (
        "kills in each stage",
        "The same, but each stage is killed equally often, at a random moment of it; random moments of a run seldom "
        "hit one that takes seconds.",
    ),
}
_HEAD = """# Reliability

What deliberate damage does to the pipeline. Anyone can repeat it; a seed decides which cases are drawn, and a failure
comes with what it needs to be repeated:

```bash
python -m bench.faults values            # bad parameters: a minute or two
python -m bench.faults files             # damaged files
python -m bench.faults servers           # failing endpoints: mostly waiting
python -m bench.faults kills --work DIR  # all stages, 50 kills: hours; started again, it goes on
python -m bench.faults stage_kills --work DIR                  # two kills in each stage
python -m bench.faults kills --target evaluate_coarse@sample   # no ranker, no training
python -m bench.faults report            # writes this page, from what ran with --folder docs/results/reliability
```

"""


def write_report(folder: Path) -> Path:
    """Write the page; campaigns that were not run are named as such."""
    write_text(DOCUMENT, render_report({name: load_campaign(folder, name) for name in _CAMPAIGNS}))
    return DOCUMENT


def render_report(results: dict[str, dict[str, Any] | None]) -> str:
    """The page as Markdown."""
    lines = ["| what | tried | survived | kinds | commit | date |", "|---|---|---|---|---|---|"]
    details = []
    for name, (title, text) in _CAMPAIGNS.items():
        result = results[name]
        if result is None:
            lines.append(f"| {title} | not run yet | | | | |")
            details.append(f"## {title[0].upper()}{title[1:]}\n\n{text}\n\nNot run yet.\n")
            continue
        tried, failed = sum(result["tried"].values()), len(result["failures"])
        lines.append(
            f"| [{title}](#{title.replace(' ', '-')}) | {tried} | {tried - failed} | {len(result['tried'])} | "
            f"{result['commit']} | {result['date']} |"
        )
        details.append(f"## {title[0].upper()}{title[1:]}\n\n{text}\n\n{_render_details(name, result)}")
    return _HEAD + "\n".join(lines) + "\n\n" + "\n".join(details)


def _render_details(name: str, result: dict[str, Any]) -> str:
    ended = ", ".join(f"{count} {outcome}" for outcome, count in result["outcomes"].items())
    lines = [f"`{result['command']}`: {ended or 'none survived'}.", *result["notes"]]
    if name in _KINDS_SHOWN:
        lines.append(", ".join(f"{kind} {count}" for kind, count in result["tried"].items()) + ".")
    text = "\n\n".join(lines)
    if result["failures"]:
        text += "\n\nDid not survive:\n\n" + "\n".join(f"- `{failure[:300]}`" for failure in result["failures"])
    return text + "\n"
