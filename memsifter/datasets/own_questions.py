"""The questions of a user's own conversations, as the layouts `jsonl` and `chatml` hold them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from memsifter.corpus.records import Issue, Record, guard
from memsifter.corpus.sessions import NO_CATEGORY, Question, Split
from memsifter.datasets.choices import chosen_option
from memsifter.datasets.layout import check_kind, parse_split, require, require_strings, require_text


def read_questions(
    items: list[Any], haystack_id: str, find_gold: Callable[[Any, str], tuple[str, ...]], where: str, split: Split
) -> Iterator[Record]:
    """The questions of one conversation.

    Required: `question`, `answer`. Optional: `id` (else `<haystack>-q<number>`), `date`, `category`, `gold`, `options`
    (one of them is the answer, by its text or its letter), `split`.

    Args:
        items: as the source has them.
        haystack_id: of the conversation.
        find_gold: maps a value of `gold` and its place to session ids; raises DataError for a wrong one.
        where: file and row.
        split: of questions that do not name theirs.
    """
    for number, item in enumerate(items):
        place = f"{where}: field 'questions'[{number}]"
        yield from guard(place, _read_question(item, f"{haystack_id}-q{number}", haystack_id, find_gold, place, split))


def optional_text(fields: Mapping[str, Any], field: str, where: str, default: str = "") -> str:
    """A field as text; the default when it is absent or null."""
    return default if fields.get(field) is None else require_text(fields, field, where)


def _read_question(
    item: Any,
    default_id: str,
    haystack_id: str,
    find_gold: Callable[[Any, str], tuple[str, ...]],
    where: str,
    split: Split,
) -> Iterator[Record]:
    fields = check_kind(item, dict, where)
    options = require_strings(fields, "options", where) if fields.get("options") is not None else ()
    gold = require(fields, "gold", list, where) if fields.get("gold") is not None else []
    question_id = optional_text(fields, "id", where, default_id)
    session_ids = dict.fromkeys(name for value in gold for name in find_gold(value, f"{where}: field 'gold'"))
    question = Question(
        question_id=question_id,
        split=parse_split(optional_text(fields, "split", where, split), where),
        haystack_id=haystack_id,
        question=require(fields, "question", str, where),
        question_date=optional_text(fields, "date", where),
        answer=chosen_option(require_text(fields, "answer", where), options, where),
        category=optional_text(fields, "category", where, NO_CATEGORY),
        answer_session_ids=tuple(session_ids),
        options=options,
    )
    if not session_ids:
        yield Issue("question_without_evidence", f"question {question_id!r}: no gold session is known")
    yield question
