"""The conversations that benchmarks share: LoCoMo's where they are on this machine, else the generated ones."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from memsifter.corpus.records import Record
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import Dataset, build_dataset
from memsifter.datasets import read_dataset
from memsifter.io.paths import ROOT

LOCOMO = ROOT.parent / "shared" / "data" / "locomo" / "locomo6.json"


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """The argument `file`; None: the generated conversations."""
    default = LOCOMO if LOCOMO.is_file() else None
    parser.add_argument(
        "file", type=Path, nargs="?", default=default, help="LoCoMo's raw layout (default: what is here, or generated)"
    )


def read_conversations(file: Path | None, haystacks: int | None = None) -> Dataset:
    """The train questions of a file, or of the built-in dataset, over the first haystacks."""
    records = read_dataset("locomo", path=str(file), split="train") if file else read_dataset("sample")
    return build_dataset(_first(records, haystacks))


def name_of(file: Path | None) -> str:
    """How the page calls them."""
    return "LoCoMo" if file else "the generated dataset"


def _first(records: Iterable[Record], haystacks: int | None) -> Iterator[Record]:
    kept: set[str] = set()
    for record in records:
        if isinstance(record, Haystack):
            if haystacks is not None and len(kept) == haystacks:
                continue
            kept.add(record.haystack_id)
        elif isinstance(record, Question) and (record.haystack_id not in kept or record.split != "train"):
            continue
        yield record
