"""Which questions a trained ranker was trained and compared on, in a file beside its weights.

A ranker knows more about these questions than about others; what is fitted on its scores leaves them out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json

TRAINED_ON_FILE = "trained_on.json"

Seen = Mapping[str, Sequence[str]]
"""Question ids by dataset, both sorted."""


def read_trained_on(model: Path) -> Seen:
    """What the file of a model says; nothing where it has none.

    Raises:
        MemSifterError: the file is damaged.
    """
    path = model / TRAINED_ON_FILE
    if not path.is_file():
        return {}
    seen = read_json(path)
    if not isinstance(seen, dict) or not all(
        isinstance(ids, list) and all(isinstance(name, str) for name in ids) for ids in seen.values()
    ):
        raise MemSifterError(f"{path}: not question ids by dataset; make the model again")
    return seen


def read_round_questions(rl_data: Path) -> Seen:
    """The questions of a round's RL data (`memsifter.rl_data.rows`): those trained on, and those it was compared on."""
    import pyarrow.parquet as pq

    found: dict[str, list[str]] = {}
    for path in sorted(rl_data.glob("*.parquet")):
        table = pq.read_table(path, columns=["extra_info.dataset", "extra_info.question_id"])
        for row in table.to_pylist():
            found.setdefault(row["dataset"], []).append(row["question_id"])
    return join_seen(found)


def join_seen(*parts: Seen) -> Seen:
    """The questions of all parts."""
    names = sorted({name for part in parts for name in part})
    return {name: sorted({question for part in parts for question in part.get(name, ())}) for name in names}
