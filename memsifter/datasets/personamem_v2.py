"""PersonaMem v2 (Jiang et al., arXiv 2512.06688): a CSV of questions that link to the chat histories of their personas.

A row of `benchmark.csv` holds `user_query` (a message, as Python prints it), `correct_answer`, `incorrect_answers` (a
list), `pref_type`, `related_conversation_snippet` (messages) and `chat_history_<size>_link`, a path below the folder.
The JSON file there has the messages of one persona under `chat_history`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from memsifter.corpus.records import Issue, Record, guard
from memsifter.corpus.sessions import Haystack, Question, Session, Split, Turn
from memsifter.datasets.assembly import SYSTEM_ROLES, parse_turns
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.json_text import parse_json
from memsifter.datasets.io.layout import check_kind, find_file, parse_literal, require, require_strings
from memsifter.datasets.io.rows import Row, iter_csv
from memsifter.datasets.reader import FileReader
from memsifter.errors import DataError


class PersonaMemV2Reader(FileReader):
    """PersonaMem v2: a folder with `benchmark*.csv` and the chat histories that it links to."""

    reader: Literal["personamem_v2"] = "personamem_v2"
    """The layout of the source."""
    history: Literal["32k", "128k"] = "32k"
    """Length of the chat histories in tokens: `32k` or `128k`."""
    other_files: ClassVar[Mapping[str, tuple[SourceFile, ...]]] = {"personamem_v2_32k": (), "personamem_v2_128k": ()}

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the questions; memory holds one chat history at a time, and the names of those that were read.

        A history does not mark where one conversation ends, so that each message of the user opens a session, which the
        replies to it complete. System messages describe the persona and are left out. Sessions that hold a message of
        the question's `related_conversation_snippet` are gold. The options are the right and the wrong answers, in
        alphabetical order. There are no question ids: they are `persona<id>-q<row>`.

        Raises:
            DataError: the CSV is not in this layout; a row that is not, or whose history is not, becomes a refusal.
        """
        sessions_of: dict[str, Haystack] = {}
        yielded: set[str] = set()
        for row in iter_csv(find_file(path, "benchmark*.csv")):
            yield from guard(
                row.where, _read_row(row, path, f"chat_history_{self.history}_link", sessions_of, yielded, self.split)
            )


def _read_row(
    row: Row, folder: Path, link_field: str, last: dict[str, Haystack], yielded: set[str], split: Split
) -> Iterator[Record]:
    fields, where = row.fields(), row.where
    link = require(fields, link_field, str, where)
    left_out = 0
    if link not in last:
        last.clear()
        last[link], left_out = _read_history(folder, link, link_field, where)
    haystack = last[link]
    query = parse_literal(require(fields, "user_query", str, where), dict, "user_query", where)
    answer = require(fields, "correct_answer", str, where)
    wrong = parse_literal(require(fields, "incorrect_answers", str, where), list, "incorrect_answers", where)
    options = {answer, *require_strings({"incorrect_answers": wrong}, "incorrect_answers", where)}
    question_id = f"persona{require(fields, 'persona_id', str, where)}-q{row.number}"
    gold = _find_gold(fields, haystack.sessions, where)
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=haystack.haystack_id,
        question=require(query, "content", str, f"{where}: field 'user_query'"),
        question_date="",
        answer=answer,
        category=require(fields, "pref_type", str, where),
        answer_session_ids=gold,
        options=tuple(sorted(options)),
    )
    if link not in yielded:
        yielded.add(link)
        if left_out:
            yield Issue("system_message_left_out", f"history {link!r}: {left_out} messages")
        yield haystack
    if not gold:
        yield Issue("question_without_evidence", f"question {question_id!r}: its snippet is not in the history")
    yield question


def _read_history(folder: Path, link: str, field: str, where: str) -> tuple[Haystack, int]:
    path = (folder / link).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise DataError(
            f"{where}: field {field!r}: {link!r} is not a file of {folder}",
            field=field,
            fix="download the chat histories",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason})", fix="save the file as UTF-8") from error
    content = check_kind(parse_json(text, str(path)), dict, str(path))
    messages = parse_turns(require(content, "chat_history", list, str(path)), f"{path}: field 'chat_history'")
    kept = [message for message in messages if message.role not in SYSTEM_ROLES]
    return Haystack(link, _split_exchanges(kept)), len(messages) - len(kept)


def _split_exchanges(messages: Sequence[Turn]) -> tuple[Session, ...]:
    exchanges: list[list[Turn]] = []
    for message in messages:
        if message.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    return tuple(Session(f"session_{number}", "", tuple(turns)) for number, turns in enumerate(exchanges, start=1))


def _find_gold(fields: Mapping[str, Any], sessions: Sequence[Session], where: str) -> tuple[str, ...]:
    field = "related_conversation_snippet"
    snippet = parse_literal(require(fields, field, str, where), list, field, where)
    turns = {turn for turn in parse_turns(snippet, f"{where}: field {field!r}") if turn.role not in SYSTEM_ROLES}
    return tuple(session.session_id for session in sessions if not turns.isdisjoint(session.turns))
