"""The data that a rollout's reward is computed from: the `extra_info` of a row of RL data.

Everything is prepared once, when the rows are written, so that computing a reward never tokenizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from memsifter.errors import MemSifterError
from memsifter.params.data import Kind

EXTRA_INFO = pa.struct(
    [
        ("index", pa.int64()),
        ("version", pa.string()),
        ("split", pa.string()),
        ("dataset", pa.string()),
        ("kind", pa.string()),
        ("category", pa.string()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("question_date", pa.string()),
        ("answer", pa.string()),
        ("session_ids", pa.list_(pa.string())),
        ("dates", pa.list_(pa.string())),
        ("sessions", pa.list_(pa.string())),
        ("session_tokens", pa.list_(pa.int32())),
        ("positions", pa.list_(pa.int32())),
        ("coarse_order", pa.list_(pa.int32())),
        ("gold", pa.list_(pa.int32())),
        ("context_tokens", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class RewardSample:
    """One question with the n candidate sessions that the ranker was shown, in the order in which they were numbered.

    Attributes:
        dataset: name of the dataset.
        kind: "chat" or "deep_research"; chooses the working LLM's prompt.
        question_id: for messages.
        question: its text.
        question_date: when it is asked; may be empty.
        answer: the reference answer.
        dates: (n,) dates of the candidates.
        sessions: (n,) texts as the working LLM reads them, each cut so that it fits the context alone.
        session_tokens: (n,) tokens of each session in the working LLM's prompt, its heading included.
        positions: (n,) places in the haystack, which is chronological.
        coarse_order: (n,) candidates from best to worst by the coarse filter.
        gold: candidates that hold the evidence.
        context_tokens: tokens that sessions may take in the working LLM's prompt.
    """

    dataset: str
    kind: Kind
    question_id: str
    question: str
    question_date: str
    answer: str
    dates: tuple[str, ...]
    sessions: tuple[str, ...]
    session_tokens: tuple[int, ...]
    positions: tuple[int, ...]
    coarse_order: tuple[int, ...]
    gold: frozenset[int]
    context_tokens: int


def read_sample(extra_info: Mapping[str, Any]) -> RewardSample:
    """Read and check the `extra_info` of a row.

    Raises:
        MemSifterError: a field is missing, or the fields do not fit together.
    """
    names = [field.name for field in fields(RewardSample)]
    if missing := [name for name in names if extra_info.get(name) is None]:
        raise MemSifterError(f"extra_info lacks {', '.join(missing)}; write the RL data anew (dvc repro prepare_rl)")
    values = {name: _plain(extra_info[name]) for name in names}
    sample = RewardSample(**{**values, "gold": frozenset(values["gold"])})
    count = len(sample.sessions)
    lengths = {len(part) for part in (sample.dates, sample.session_tokens, sample.positions, sample.coarse_order)}
    numbers = set(range(count))
    if not count or lengths != {count} or set(sample.coarse_order) != numbers or not sample.gold <= numbers:
        raise MemSifterError(
            f"extra_info of question {sample.question_id!r}: its fields do not describe the same {count} sessions; "
            "write the RL data anew (dvc repro prepare_rl)"
        )
    return sample


def _plain(value: Any) -> Any:
    """Lists and arrays as tuples: verl keeps what Parquet readers give."""
    if isinstance(value, str | int):
        return value
    return tuple(item.item() if hasattr(item, "item") else item for item in value)
