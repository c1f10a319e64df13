"""FriendsQA (Yang & Choi, SIGDIAL 2019): questions about scenes of a television series, answered by spans of dialogue.

A file is one object; its `data` lists scenes, in no order of time. A scene has a `title` and `paragraphs`, each with
`utterances:` (the colon is part of the name), objects `{uid, speakers, utterance}`, and `qas`, objects
`{id, question, answers}`. An id is the scene's title, the question word and, for half of them, `Paraphrased`. An answer
is a span that an annotator marked; its `answer_text` is a speaker's name where `is_speaker`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from memsifter.corpus.records import Issue, Position, Record, guard, refuse
from memsifter.corpus.sessions import NO_CATEGORY, Haystack, Question, Session, Split, Turn, check_haystack
from memsifter.datasets.io.layout import check_kind, require, require_strings
from memsifter.datasets.io.rows import iter_rows
from memsifter.datasets.reader import FileReader
from memsifter.errors import DataError


class FriendsQaReader(FileReader):
    """FriendsQA: scenes of dialogue among several speakers."""

    reader: Literal["friendsqa"] = "friendsqa"
    """The layout of the source."""
    scenes: Annotated[int, Field(ge=1)] = 30
    """Consecutive scenes of the file that are put together into one haystack; at least 1."""

    def read(self, path: Path) -> Iterator[Record]:
        """Read the file (10 MB at most) and yield one haystack at a time.

        A scene is a session without date, its title the id; the roles are the speakers' names. A question's gold is its
        scene. Its answer is the text that was marked most often, the first of those marked equally often; other texts
        are left out with an issue. Its category is the question word.

        Raises:
            DataError: the file is not in this layout; a scene that is not becomes a refusal with its questions, a
                question one of its own.
        """
        haystacks = 0
        for row in iter_rows(path):
            scenes = require(row.fields(), "data", list, row.where)
            for start in range(0, len(scenes), self.scenes):
                group = [
                    (f"{row.where}: scene {number}", scene)
                    for number, scene in enumerate(scenes[start : start + self.scenes], start=start + 1)
                ]
                yield from _read_haystack(group, f"scenes-{haystacks:03d}", self.split)
                haystacks += 1
        if not haystacks:
            raise DataError(f"{path}: field 'data' holds no scene", field="data", fix="copy or download it again")


def _read_haystack(group: Sequence[tuple[str, Any]], haystack_id: str, split: Split) -> Iterator[Record]:
    """A haystack of the scenes that can be read, then their questions; a scene comes with its place in the file."""
    sessions: dict[str, Session] = {}
    asked: list[tuple[str, str, list[Any]]] = []
    for where, value in group:
        yield Position(where)
        items: list[Any] = []
        try:
            scene = check_kind(value, dict, where)
            paragraphs = [
                check_kind(paragraph, dict, f"{where}: field 'paragraphs'[{number}]")
                for number, paragraph in enumerate(require(scene, "paragraphs", list, where))
            ]
            for paragraph in paragraphs:
                items += require(paragraph, "qas", list, where)
            title = require(scene, "title", str, where)
            if title in sessions:
                raise DataError(f"{where}: title {title!r} repeats", field="title", fix="give each scene its own title")
            turns = tuple(turn for paragraph in paragraphs for turn in _read_turns(paragraph, where))
            if not turns:
                raise DataError(f"{where}: the scene has no utterances", field="utterances:", fix="leave it out")
            session = Session(title, "", turns)
            check_haystack(Haystack(haystack_id, (session,)))  # its faults must not cost the other scenes
        except DataError as error:
            yield refuse(where, error, questions=len(items))
            continue
        sessions[title] = session
        asked.append((where, title, items))
    if sessions:
        yield Haystack(haystack_id, tuple(sessions.values()))
    for where, title, items in asked:
        for number, item in enumerate(items):
            place = f"{where}: question {number}"
            yield from guard(place, _read_question(item, title, haystack_id, place, split))


def _read_turns(paragraph: dict[str, Any], where: str) -> Iterator[Turn]:
    field = "utterances" if "utterances" in paragraph else "utterances:"
    for number, value in enumerate(require(paragraph, field, list, where)):
        place = f"{where}: field {field!r}[{number}]"
        utterance = check_kind(value, dict, place)
        role = ", ".join(require_strings(utterance, "speakers", place))
        if not role:
            raise DataError(f"{place}: nobody speaks", field="speakers", fix="name who speaks")
        yield Turn(role, require(utterance, "utterance", str, place))


def _read_question(item: Any, title: str, haystack_id: str, where: str, split: Split) -> Iterator[Record]:
    fields = check_kind(item, dict, where)
    question_id = require(fields, "id", str, where)
    marked: Counter[str] = Counter()
    for number, value in enumerate(require(fields, "answers", list, where)):
        place = f"{where}: field 'answers'[{number}]"
        marked[require(check_kind(value, dict, place), "answer_text", str, place)] += 1
    if not marked:
        raise DataError(f"{where}: no answer is marked", field="answers", fix="mark one, or leave the question out")
    answer = max(marked, key=marked.__getitem__)  # the first of the most frequent: a Counter keeps the order
    word = question_id.removeprefix(f"{title}_").partition("_")[0] if question_id.startswith(f"{title}_") else ""
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=haystack_id,
        question=require(fields, "question", str, where),
        question_date="",
        answer=answer,
        category=word or NO_CATEGORY,
        answer_session_ids=(title,),
    )
    if len(marked) > 1:
        yield Issue("other_answers_left_out", f"question {question_id!r}: {len(marked) - 1} beside {answer!r}")
    yield question
