"""The table of benchmarks in docs/datasets.md, written from the registry: python -m memsifter.datasets.table."""

import re

from memsifter.datasets.registry import CATALOGUE
from memsifter.io.paths import ROOT

DOCUMENT = ROOT / "docs" / "datasets.md"
_BLOCK = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- /benchmarks -->)", re.DOTALL)


def benchmark_table() -> str:
    """A Markdown table of all benchmarks, one line each."""
    lines = ["| name | original | licence | kind | language | readers | sha256 |", "|---" * 7 + "|"]
    for name, listed in CATALOGUE.items():
        benchmark = listed.benchmark
        readers = ", ".join(f"`{reader}`{'' if files else ' by hand'}" for reader, files in listed.sources.items())
        pinned = "pinned" if all(file.sha256 for file in benchmark.files) else "logged"
        cells = (
            f"`{name}`",
            f"[{benchmark.title}]({benchmark.page})",
            benchmark.licence,
            benchmark.kind.replace("_", " "),
            benchmark.language,
            readers,
            pinned,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """The document with the table between its markers brought up to date."""
    return _BLOCK.sub(lambda _: benchmark_table(), text)


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
