"""Browsing trajectories as message lists: WebDancer (Wu et al., arXiv 2505.22648), MiroVerse's WebWalkerQA.

A row holds `messages`: system, the user's question, then in turn what the agent did (assistant) and what it saw (user
or tool), at last the agent's answer. `question` and `answer` may stand beside them; an answer may be a list of
alternatives.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from memsifter.corpus.records import Issue, Position, Record, refuse
from memsifter.corpus.sessions import Haystack, Question, Session, Turn, check_haystack
from memsifter.datasets.assembly import SYSTEM_ROLES, parse_turns
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.layout import require, require_text
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.errors import DataError
from memsifter.params.base import Count

_ASKED = re.compile(r"(?:^|\n)User:\s*(?!.*\nUser:)(.+)\Z", re.DOTALL)
_ANSWERED = (re.compile(r"<answer>\s*(.+?)\s*</answer>", re.DOTALL), re.compile(r"\\boxed\{(.+?)\}", re.DOTALL))


@dataclass(frozen=True)
class _Trajectory:
    where: str
    question_id: str
    question: str
    answer: str
    category: str
    steps: tuple[Session, ...]
    issues: tuple[Issue, ...]


class TrajectoryReader(FileReader):
    """Browsing trajectories as message lists."""

    reader: Literal["trajectory"] = "trajectory"
    """The layout of the source."""
    per_haystack: Count = 20
    """Trajectories whose steps are put together into one haystack; at least 1."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        "WebDancer": Benchmark(
            title="WebAgent, its 199 public trajectories",
            page="https://github.com/Alibaba-NLP/WebAgent",
            licence="MIT",
            kind="deep_research",
            language="en",
            files=(
                SourceFile(
                    "https://raw.githubusercontent.com/Alibaba-NLP/WebAgent/d169df3/WebDancer/datasets/sample_traj.jsonl",
                    "0e8ac080b52fc1d65f9e3937ef1460610bfb76ea6a1ef8060beb5a938928e447",
                ),
            ),
        )
    }
    other_files: ClassVar[Mapping[str, tuple[SourceFile, ...]]] = {"WebWalkerQA-Silver": ()}

    def read(self, path: Path) -> Iterator[Record]:
        r"""Stream the trajectories, `per_haystack` at a time.

        A step, what the agent did and what it then saw, is a session; a haystack holds the steps of so many
        trajectories that follow each other in the file, and the steps of a question's own are its gold. The agent's
        answer at the end is not a session. Without the field `question` the first message of the user gives it (after
        its last "User:", where a prompt precedes it), without `answer` the last message of the agent (inside `<answer>`
        or `\boxed{}`).

        Raises:
            DataError: the file is not in this layout; a row that is not becomes a refusal.
        """
        rows = iter_rows(path)
        number = 0
        while batch := list(islice(rows, self.per_haystack)):
            trajectories = []
            haystack_id = f"trajectories-{number:05}"
            for row in batch:
                yield Position(row.where)
                try:
                    trajectory = _read_row(row)
                    check_haystack(Haystack(haystack_id, trajectory.steps))  # must not cost the others
                    trajectories.append(trajectory)
                except DataError as error:
                    yield refuse(row.where, error, questions=1)
            if not trajectories:
                continue
            number += 1
            yield Haystack(haystack_id, tuple(step for trajectory in trajectories for step in trajectory.steps))
            for trajectory in trajectories:
                yield Position(trajectory.where)
                yield from trajectory.issues
                yield Question(
                    question_id=trajectory.question_id,
                    split=self.split,
                    haystack_id=haystack_id,
                    question=trajectory.question,
                    question_date="",
                    answer=trajectory.answer,
                    category=trajectory.category,
                    answer_session_ids=tuple(step.session_id for step in trajectory.steps),
                )


def _read_row(row: Row) -> _Trajectory:
    fields, where = row.fields(), row.where
    if "messages" not in fields:
        raise DataError(
            f"{where}: field 'messages' is missing; found {', '.join(fields) or 'no fields'}",
            field="messages",
            fix="a question alone has no sessions: take the file of the trajectories",
        )
    messages = parse_turns(fields["messages"], f"{where}: field 'messages'")
    turns = [turn for turn in messages if turn.role not in SYSTEM_ROLES]
    if len(turns) < 2 or turns[0].role != "user":
        raise DataError(
            f"{where}: field 'messages': expected a question of the user, then what the agent did and saw",
            field="messages",
            fix="take the file of the trajectories",
        )
    question_id = f"q{row.number}"
    steps = tuple(
        Session(f"{question_id}-step{number}", "", step) for number, step in enumerate(_split_steps(turns[1:]), start=1)
    )
    if not steps:
        raise DataError(
            f"{where}: field 'messages': the agent answered without a step", field="messages", fix="leave the row out"
        )
    answer, alternatives = _read_answer(fields, turns, where)
    issues = (
        [Issue("answer_alternatives_not_kept", f"question {question_id!r}: {alternatives}")] if alternatives else []
    )
    asked = _ASKED.search(turns[0].content)
    question = require(fields, "question", str, where) if "question" in fields else None
    return _Trajectory(
        where=where,
        question_id=question_id,
        question=question or (asked[1] if asked else turns[0].content),
        answer=answer,
        category=require_text(fields, "tag", where) if "tag" in fields else "trajectory",
        steps=steps,
        issues=tuple(issues),
    )


def _split_steps(turns: Sequence[Turn]) -> list[tuple[Turn, ...]]:
    """Each message of the agent with what it saw after it; the last one, with nothing after it, is the answer."""
    steps: list[list[Turn]] = []
    for turn in turns:
        if turn.role == "assistant" or not steps:
            steps.append([])
        steps[-1].append(turn)
    if steps and steps[-1][-1].role == "assistant":
        steps.pop()
    return [tuple(step) for step in steps]


def _read_answer(fields: Mapping[str, Any], turns: Sequence[Turn], where: str) -> tuple[str, int]:
    """The answer, and how many alternatives to it there are."""
    value = fields.get("answer")
    if value is None:
        marked = next((match for pattern in _ANSWERED if (match := pattern.search(turns[-1].content))), None)
        if marked is None:
            raise DataError(
                f"{where}: field 'answer' is missing, and the last message marks no answer",
                field="answer",
                fix="add it",
            )
        return marked[1], 0
    alternatives = 0
    while isinstance(value, list) and value:
        alternatives += len(value) - 1
        value = value[0]
    return require_text({"answer": value}, "answer", where), alternatives
