"""The out of stage `embed`: a folder of embeddings with explicit schemas, all that scoring needs of the embedder.

- `units.parquet`: one row per unit of a distinct session that a question is asked of, sessions in the dataset's order,
  one kind of unit after the other: `session_key`, `unit` (`turn`, `window` or `chunk`), `first` and `end`, its
  half-open range (in turns of the session; for a chunk in tokens of the rendered session), and its embedding.
- `questions.parquet`: one row per question: `question_id`, `text_sha256` of what was embedded (the instruction and the
  question), and its embedding.
- `embeddings.json`: fingerprint of the model and its settings, dimension, units and how they are cut.

An embedding is `vector`, of length 1; with an M3 model also `token_ids` and `token_weights`, its own term weights; and
with `embed.token_vectors` also `token_vectors`, a vector per token, end to end, in half precision.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from memsifter.io.files import atomic_directory, write_json, write_table
from memsifter.params import Unit

UNITS_FILE = "units.parquet"
QUESTIONS_FILE = "questions.parquet"
SETTINGS_FILE = "embeddings.json"

UNIT_FIELDS = (
    pa.field("session_key", pa.string()),
    pa.field("unit", pa.string()),
    pa.field("first", pa.int32()),
    pa.field("end", pa.int32()),
)
QUESTION_FIELDS = (pa.field("question_id", pa.string()), pa.field("text_sha256", pa.binary(32)))


def embedding_fields(dimensions: int, token_vectors: bool = False) -> tuple[pa.Field, ...]:
    """The columns of an embedding of so many dimensions; without an M3 model the lists of term weights are empty."""
    fields = (
        pa.field("vector", pa.list_(pa.float32(), dimensions)),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("token_weights", pa.list_(pa.float32())),
    )
    return (*fields, pa.field("token_vectors", pa.list_(pa.float16()))) if token_vectors else fields


def text_key(text: str) -> bytes:
    """SHA-256 of exactly what the model reads (for a question: with its instruction)."""
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class EmbeddingSettings:
    """Where the vectors come from.

    Attributes:
        fingerprint: hex SHA-256 of the model's files and the settings that its vectors depend on.
        dimensions: length of a vector.
        query_instruction: text in front of every question.
        units: the kinds of units that are embedded.
        window_turns: turns of a window.
        chunk_tokens: most tokens of a chunk, special tokens included.
        chunk_overlap: most tokens that a chunk repeats of the one before it.
    """

    fingerprint: str
    dimensions: int
    query_instruction: str
    units: tuple[Unit, ...]
    window_turns: int
    chunk_tokens: int
    chunk_overlap: int


def write_embeddings(directory: Path, settings: EmbeddingSettings, units: pa.Table, questions: pa.Table) -> None:
    """Write the three files of the folder, replacing it whole; the same content gives the same bytes."""
    with atomic_directory(directory) as temporary:
        write_table(temporary / UNITS_FILE, units)
        write_table(temporary / QUESTIONS_FILE, questions)
        write_json(temporary / SETTINGS_FILE, asdict(settings))
