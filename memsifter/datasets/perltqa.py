"""PerLTQA (Du et al., arXiv 2402.16288): the memories of invented people, and questions about them.

`perltmem*.json` maps a name to `profile` (an object), `profile_description`, `social_relationship`, `events` and
`dialogues` (objects by memory id). A dialogue's `contents` map a time to lines `Speaker: text`. `perltqa*.json` is a
list of objects that map a name to the questions on each of these sections, in lists by memory id; the profile's are one
list.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from memsifter.corpus.records import Issue, Position, Record, guard, refuse
from memsifter.corpus.sessions import Haystack, Question, Session, Split, Turn
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.json_text import parse_json
from memsifter.datasets.io.layout import check_kind, describe_kind, find_file, parse_literal, require
from memsifter.datasets.io.rows import iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.errors import DataError

_REPOSITORY = "https://raw.githubusercontent.com/Elvin-Yiming-Du/PerLTQA/67f8351aa6cedddcfc9985e475cfb5565ffd6fa8"
_NARRATOR = "memory"  # the role of what nobody says


def _benchmark(language: Literal["en", "zh"], *names: str) -> Benchmark:
    return Benchmark(
        title="PerLTQA",
        page="https://github.com/Elvin-Yiming-Du/PerLTQA",
        licence="CC BY-NC 4.0",
        kind="chat",
        language=language,
        files=tuple(SourceFile(f"{_REPOSITORY}/Dataset/{name}") for name in names),
    )


class PerLtqaReader(FileReader):
    """PerLTQA: a folder with `perltqa*.json` and `perltmem*.json`."""

    reader: Literal["perltqa"] = "perltqa"
    """The layout of the source."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        "perltqa_en": _benchmark("en", "en_v2/perltqa_en_v2.json", "en_v2/perltmem_en_v2.json"),
        "perltqa_zh": _benchmark("zh", "zh/perltqa.json", "zh/perltmem.json"),
    }

    def read(self, path: Path) -> Iterator[Record]:
        """Read both files (20 MB) and yield one person at a time.

        A haystack is a person: a session for the profile, for each relationship, for each event, and for each dialogue
        and time. A question's `Reference Memory` is its gold; for the profile it names a field, and the profile is
        gold. There are no question ids: they are `<name>-<section>-q<number>`, counted through all rows about a person.

        Raises:
            DataError: the files are not in this layout; a person or question that is not becomes a refusal.
        """
        memories_file, questions_file = find_file(path, "perltmem*.json"), find_file(path, "perltqa*.json")
        try:
            text = memories_file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{memories_file}: not UTF-8 ({error.reason})", fix="save the file as UTF-8") from error
        memories = check_kind(parse_json(text, str(memories_file)), dict, str(memories_file))
        asked: Counter[str] = Counter()
        for row in iter_rows(questions_file):
            yield Position(row.where)
            try:
                people = row.fields()
            except DataError as error:
                yield refuse(row.where, error, questions=0)
                continue
            for name, sections in people.items():
                where = f"{questions_file}: {name}"
                items = list(_iter_questions(sections))
                try:
                    memory = require(memories, name, dict, str(memories_file))
                    gold_ids, sessions = _read_memory(memory, f"{memories_file}: {name}")
                except DataError as error:
                    yield refuse(where, error, questions=len(items))
                    continue
                if name not in asked:
                    yield Position(f"{memories_file}: {name}")
                    yield Haystack(name, sessions)
                for number, (section, item) in enumerate(items, start=asked[name]):
                    question_id = f"{name}-{section}-q{number}"
                    place = f"{where}: {section} question {number}"
                    yield from guard(
                        place, _read_question(item, section, question_id, name, gold_ids, place, self.split)
                    )
                asked[name] += len(items)
        for name in (name for name in memories if name not in asked):
            yield Issue("memory_without_questions", f"{name}: nothing is asked about this person")


def _iter_questions(sections: Any) -> Iterator[tuple[str, Any]]:
    """The questions of a person with their section, in whatever depth of lists and objects they lie."""
    for section, value in sections.items() if isinstance(sections, dict) else [("questions", sections)]:
        waiting = [value]
        while waiting:
            item = waiting.pop(0)
            if isinstance(item, list):
                waiting = item + waiting
            elif isinstance(item, dict) and "Question" not in item and item:
                waiting = list(item.values()) + waiting
            else:
                yield section, item


def _read_memory(memory: Mapping[str, Any], where: str) -> tuple[dict[str, list[str]], tuple[Session, ...]]:
    """Gold session ids by memory id, and the sessions."""
    profile = require(memory, "profile", dict, where)
    lines = [f"{field}: {_text(value, where, field)}" for field, value in profile.items()]
    lines += [_text(memory[field], where, field) for field in ("profile_description",) if field in memory]
    sessions = [Session("profile", "", (Turn(_NARRATOR, "\n".join(lines)),))]
    ids: dict[str, list[str]] = {field: ["profile"] for field in ("profile", "profile_description", *profile)}

    def add(memory_id: str, session_id: str, date: str, turns: tuple[Turn, ...]) -> None:
        ids.setdefault(memory_id, []).append(session_id)
        sessions.append(Session(session_id, date, turns))

    for memory_id, relation in _section(memory, "social_relationship", where).items():
        place = f"{where}: social_relationship {memory_id}"
        parts = check_kind(relation, dict, place).items()
        text = "\n".join(f"{field}: {_text(value, place, field)}" for field, value in parts)
        add(memory_id, f"social_relationship:{memory_id}", "", (Turn(_NARRATOR, text),))
    for memory_id, event in _section(memory, "events", where).items():
        place = f"{where}: events {memory_id}"
        fields = check_kind(event, dict, place)
        content = require(fields, "content", str, place)
        date = _text(fields.get("Creation Time", ""), place, "Creation Time")
        add(memory_id, f"events:{memory_id}", date, (Turn(_NARRATOR, content),))
    for memory_id, dialogue in _section(memory, "dialogues", where).items():
        place = f"{where}: dialogues {memory_id}"
        contents = require(check_kind(dialogue, dict, place), "contents", dict, place)
        for date, said in contents.items():
            turns = tuple(_parse_line(line, place) for line in check_kind(said, list, f"{place}: {date}", "contents"))
            add(memory_id, f"dialogues:{memory_id}:{date}", date, turns)
    return ids, tuple(sessions)


def _read_question(
    item: Any, section: str, question_id: str, name: str, gold_ids: Mapping[str, list[str]], where: str, split: Split
) -> Iterator[Record]:
    fields = check_kind(item, dict, where)
    reference = require(fields, "Reference Memory", str, where)
    names = parse_literal(reference, list, "Reference Memory", where) if reference.startswith("[") else [reference]
    known = [memory_id for memory_id in names if isinstance(memory_id, str) and memory_id in gold_ids]
    gold = dict.fromkeys(session_id for memory_id in known for session_id in gold_ids[memory_id])
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=name,
        question=require(fields, "Question", str, where),
        question_date="",
        answer=require(fields, "Answer", str, where),
        category=section,
        answer_session_ids=tuple(gold),
    )
    if len(known) < len(names):
        yield Issue("evidence_session_missing", f"question {question_id!r}: {reference} is not all in the memory")
    yield question


def _section(memory: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """A section by memory id; some files hold it as the text that Python prints."""
    value = memory.get(name, {})
    if isinstance(value, str):
        return parse_literal(value, dict, name, where)
    return check_kind(value, dict, f"{where}: field {name!r}", name)


def _parse_line(line: Any, where: str) -> Turn:
    text = check_kind(line, str, where, "contents")
    speaker, colon, said = text.replace("\uff1a", ":", 1).partition(":")  # the Chinese files use the wide colon
    return Turn(speaker.strip(), said.strip()) if colon and speaker.strip() else Turn(_NARRATOR, text)


def _text(value: Any, where: str, field: str) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item, where, field) for item in value)
    if isinstance(value, (dict, bool, type(None))):
        raise DataError(
            f"{where}: field {field!r}: expected text, got {describe_kind(value)}", field=field, fix="write text there"
        )
    return str(value)
