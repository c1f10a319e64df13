"""Read a dataset to its end and report everything that is wrong with it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memsifter.corpus.records import Issue, Record, Refusal, refuse, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets.io.rows import iter_rows
from memsifter.errors import DataError

# A field that only one layout has, most telling first.
_TELLING = {
    "haystack_dates": "longmemeval",
    "haystack_sessions": "flat",
    "conversation": "locomo",
    "supporting_facts": "hotpotqa",
    "sessions": "jsonl",
    "meeting_transcripts": "qmsum",
    "data": "friendsqa",
}


@dataclass
class CheckReport:
    """What a check counted. `errors` are refusals: the data stage stops at them, or leaves them out."""

    haystacks: int = 0
    questions: int = 0
    errors: int = 0
    refused_questions: int = 0
    warnings: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        """One line with all counts."""
        return (
            f"{self.questions} questions over {self.haystacks} haystacks; {self.errors} errors "
            f"({self.refused_questions} questions refused), {self.warnings.total()} warnings"
        )


def check_records(records: Iterable[Record], report: CheckReport) -> Iterator[str]:
    """Validate records as the data stage does; yield a line per problem, count into `report`.

    Errors of the file as a whole, which end the reading, are one more problem.
    """
    try:
        for record in validate(records):
            if isinstance(record, Refusal):
                report.errors += 1
                report.refused_questions += record.questions
                yield _describe(record)
            elif isinstance(record, Issue):
                report.warnings[record.kind] += 1
                yield f"warning: {record.kind.replace('_', ' ')}: {record.detail}"
            else:
                report.haystacks += isinstance(record, Haystack)
                report.questions += isinstance(record, Question)
    except DataError as error:
        report.errors += 1
        yield _describe(refuse("", error, questions=0))
    if not report.questions and not report.errors:
        report.errors += 1
        yield "error: the source holds no questions\n  fix: add questions to it"


def guess_reader(path: Path) -> str:
    """The reader whose layout a file or folder seems to have; `flat` where it does not tell.

    Raises:
        DataError: the file cannot be read at all.
    """
    if path.is_dir():
        patterns = {"perltqa*.json": "perltqa", "questions*.csv": "personamem", "benchmark*.csv": "personamem_v2"}
        return next((reader for pattern, reader in patterns.items() if any(path.glob(pattern))), "flat")
    first = next(iter_rows(path), None)
    if first is None:
        return "flat"
    fields = first.fields()
    if "messages" in fields:
        return "chatml" if "questions" in fields else "trajectory"
    reader = next((reader for name, reader in _TELLING.items() if name in fields), "flat")
    if reader == "friendsqa" and not _has_utterances(fields["data"]):
        return "flat"
    # Both have the same fields; what LongMemEval requires tells them apart.
    official = {"question_type", "question_date", "question_id"} <= fields.keys() and "split" not in fields
    return (
        "flat" if reader == "longmemeval" and not (official and isinstance(fields["haystack_dates"], list)) else reader
    )


def _has_utterances(scenes: Any) -> bool:
    """Whether the first scene is FriendsQA's: SQuAD's articles, and those of its kin, differ in this alone."""
    try:
        paragraph = scenes[0]["paragraphs"][0]
    except (LookupError, TypeError):
        return False
    return isinstance(paragraph, dict) and not {"utterances", "utterances:"}.isdisjoint(paragraph)


def _describe(refusal: Refusal) -> str:
    place = "" if refusal.where in refusal.problem else f"{refusal.where}: "
    name = f" [{refusal.field}]" if refusal.field and repr(refusal.field) not in refusal.problem else ""
    text = " ".join(f"error: {place}{refusal.problem}{name}".split())
    return f"{text}\n  fix: {refusal.fix}" if refusal.fix else text
