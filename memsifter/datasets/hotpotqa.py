"""HotpotQA (Yang et al., arXiv 1809.09600): questions with the paragraphs they are answered from, among others.

A row holds `_id` (or `id`), `question`, `answer`, `type`, `supporting_facts`, a list of `[title, sentence]`, and
`context`, a list of `[title, sentences]`. Both may also be objects of columns, `{title: […], sentences: [[…]]}` and
`{title: […], sent_id: […]}`, as in the Parquet files of the Hugging Face hub.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from memsifter.corpus.records import Issue, Record, guard
from memsifter.corpus.sessions import Question, Split
from memsifter.datasets.assembly import assemble_haystack
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.layout import check_kind, require, require_strings
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.errors import DataError

_ROLE = "document"


class HotpotQaReader(FileReader):
    """HotpotQA: questions with their paragraphs."""

    reader: Literal["hotpotqa"] = "hotpotqa"
    """The layout of the source."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        "HotpotQA": Benchmark(
            title="HotpotQA",
            page="https://hotpotqa.github.io",
            licence="CC BY-SA 4.0",
            kind="deep_research",
            language="en",
            files=(SourceFile("http://curtis.ml.cmu.edu/datasets/hotpot/hotpot_dev_distractor_v1.json"),),
        ),
    }

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the questions. A haystack is a question's paragraphs: each is a session, its title the id.

        Paragraphs that `supporting_facts` name are gold; what follows the title there is ignored, some files nest more.
        A supporting title that is not among the paragraphs, as in the full-wiki setting, is left out with an issue.

        Raises:
            DataError: the file is not in this layout; a row that is not becomes a refusal.
        """
        for row in iter_rows(path):
            yield from guard(row.where, _read_row(row, self.split))


def _read_row(row: Row, split: Split) -> Iterator[Record]:
    fields, where = row.fields(), row.where
    question_id = require(fields, "_id" if "_id" in fields else "id", str, where)
    titles, texts = _read_context(fields, where)
    turns = [[{"role": _ROLE, "content": f"{title}\n{text}"}] for title, text in zip(titles, texts, strict=True)]
    assembly = assemble_haystack(titles, [""] * len(titles), turns, where, row.label, f"{question_id}-paragraphs")
    supporting = list(dict.fromkeys(_read_titles(fields, where)))
    gold, issues = assembly.resolve_gold([title for title in supporting if title in titles], "")
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=assembly.haystack.haystack_id,
        question=require(fields, "question", str, where),
        question_date="",
        answer=require(fields, "answer", str, where),
        category=require(fields, "type", str, where),
        answer_session_ids=gold,
    )
    yield from assembly.issues
    yield assembly.haystack
    yield from issues
    for title in supporting:
        if title not in titles:
            yield Issue("evidence_session_missing", f"question {question_id!r}: {title!r} is none of its paragraphs")
    yield question


def _read_context(fields: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
    context = fields.get("context")
    if isinstance(context, dict):
        titles = list(require_strings(context, "title", f"{where}: field 'context'"))
        paragraphs: list[Any] = require(context, "sentences", list, f"{where}: field 'context'")
        if len(titles) != len(paragraphs):
            raise DataError(
                f"{where}: field 'context': {len(titles)} titles for {len(paragraphs)} paragraphs",
                field="context",
                fix="give one title for each paragraph",
            )
    else:
        pairs = [_pair(item, where, "context", i) for i, item in enumerate(require(fields, "context", list, where))]
        titles, paragraphs = [title for title, _ in pairs], [rest[0] for _, rest in pairs]
    places = [f"{where}: field 'context'[{number}]" for number in range(len(titles))]
    texts = [
        "".join(require_strings({"sentences": sentences}, "sentences", place))
        for sentences, place in zip(paragraphs, places, strict=True)
    ]
    return titles, texts


def _read_titles(fields: Mapping[str, Any], where: str) -> list[str]:
    facts = fields.get("supporting_facts")
    if isinstance(facts, dict):
        return list(require_strings(facts, "title", f"{where}: field 'supporting_facts'"))
    items = require(fields, "supporting_facts", list, where)
    return [_pair(item, where, "supporting_facts", number)[0] for number, item in enumerate(items)]


def _pair(item: Any, where: str, field: str, number: int) -> tuple[str, list[Any]]:
    """A title and what follows it, at least one value."""
    place = f"{where}: field {field!r}[{number}]"
    title, *rest = check_kind(item, list, place, field) or [None]
    if not rest:
        raise DataError(f"{place}: expected a title and a value", field=field, fix="write [title, value]")
    return check_kind(title, str, place, field), rest
