"""What a reader of files is: its parameters, its layout, and the benchmarks that come in it, in one class."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from memsifter.corpus.records import Record
from memsifter.datasets.io.download import SourceFile
from memsifter.params.data import FileDatasetParams, Kind


@dataclass(frozen=True)
class Benchmark:
    """A public dataset, which can be named without a path.

    Attributes:
        title: what its authors call it.
        page: where it is described.
        licence: of the data.
        kind: which prompts fit.
        language: of the conversations.
        files: in the layout of the reader that lists it.
    """

    title: str
    page: str
    licence: str
    kind: Kind
    language: Literal["en", "zh", "en, zh"]
    files: tuple[SourceFile, ...]


class FileReader(FileDatasetParams):
    """A reader of one layout of files.

    A subclass gives `reader` its name, adds parameters of its own, lists benchmarks, and implements `read`; an entry in
    `memsifter.datasets.registry` makes it known.
    """

    benchmarks: ClassVar[Mapping[str, Benchmark]] = {}
    """Benchmarks by their name in `params.yaml`; this is their default reader."""
    other_files: ClassVar[Mapping[str, tuple[SourceFile, ...]]] = {}
    """Files, in this reader's layout, of benchmarks that another reader lists; none: to be fetched by hand."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Record]:
        """Stream the records of a file or folder.

        Raises:
            DataError: it is not in this layout as a whole; a row that is not becomes a refusal.
        """
