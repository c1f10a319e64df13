"""The built-in synthetic dataset: dated chats between a user and an assistant, and questions about them.

Everything is drawn from the seed; a haystack does not depend on how many others there are.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from memsifter.corpus.records import Record
from memsifter.corpus.sessions import Haystack, Question, Session, Split, Turn
from memsifter.datasets.sample.plan import Fact, FactPlan
from memsifter.datasets.sample.questions import ask_questions
from memsifter.datasets.sample.words import load_words
from memsifter.errors import MemSifterError
from memsifter.params.base import Count, Fraction
from memsifter.params.data import DatasetParams

_FACTS_PER_SESSION = 1.4
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_GAPS_DAYS = (1, 1, 2, 2, 3, 4, 5, 7)
_FIRST_DAY = date(2023, 1, 2)


class SampleReader(DatasetParams):
    """The built-in dataset.

    Questions are single-hop, multi-hop (two gold sessions), temporal (the session's date is needed) and
    knowledge-update (the answer is the newest value; the sessions with the old and with the new value are both gold).
    """

    reader: Literal["sample"] = "sample"
    """The layout of the source."""
    seed: int = 0
    """Of all that is drawn; another seed gives other conversations."""
    haystacks: Count = 6
    """Number of users; at least 1."""
    sessions: Annotated[int, Field(ge=8)] = 30
    """Sessions of each haystack; at least 8, and at least as many as `questions`."""
    questions: Annotated[int, Field(ge=4)] = 10
    """Questions asked of each haystack; at least 4, one of each category."""
    train_fraction: Fraction = 0.5
    """Share of the haystacks, the first ones, whose questions are for training; 0 to 1, rounded, one always stays."""

    def generate(self) -> Iterator[Record]:
        """Generate the dataset.

        Raises:
            MemSifterError: more questions than sessions, or more than the built-in facts can answer.
        """
        if self.questions > self.sessions:
            raise MemSifterError(
                f"sample: questions is {self.questions}, more than sessions ({self.sessions}); "
                "a haystack needs at least one session per question"
            )
        train = min(round(self.train_fraction * self.haystacks), self.haystacks - 1)
        for number in range(self.haystacks):
            yield from _generate_haystack(self, number, "train" if number < train else "test")


def _generate_haystack(params: SampleReader, number: int, split: Split) -> Iterator[Haystack | Question]:
    rng = Random(f"memsifter sample {params.seed} {number}")
    days = _draw_days(rng, params.sessions)
    plan = FactPlan(rng, days)
    drafts = ask_questions(plan, params.questions)
    plan.add_unasked(round(_FACTS_PER_SESSION * params.sessions))
    haystack_id = f"sample-{number:03}"
    facts = [[fact for fact in plan.facts if fact.session == index] for index in range(params.sessions)]
    yield Haystack(
        haystack_id,
        tuple(
            Session(_session_id(index), _stamp(rng, day), _write_turns(rng, facts[index]))
            for index, day in enumerate(days)
        ),
    )
    for index, draft in enumerate(drafts):
        yield Question(
            question_id=f"{haystack_id}-q{index:03}",
            split=split,
            haystack_id=haystack_id,
            question=draft.question,
            question_date=_stamp(rng, days[-1] + timedelta(rng.randint(1, 14))),
            answer=draft.answer,
            category=draft.category,
            answer_session_ids=tuple(
                _session_id(session) for session in sorted({fact.session for fact in draft.facts})
            ),
        )


def _draw_days(rng: Random, count: int) -> list[date]:
    days = [_FIRST_DAY + timedelta(rng.randrange(180))]
    while len(days) < count:
        days.append(days[-1] + timedelta(rng.choice(_GAPS_DAYS)))
    return days


def _write_turns(rng: Random, facts: Sequence[Fact]) -> tuple[Turn, ...]:
    """Three to five exchanges: the facts, with small talk before and after them."""
    words = load_words()
    replies = rng.sample(words.replies, len(facts))
    exchanges: list[tuple[tuple[str, ...], str, str]] = [
        (words.news_openings, fact.text, reply) for fact, reply in zip(facts, replies, strict=True)
    ]
    talk = max(rng.choice((3, 4, 4, 5)) - len(facts), 1 if len(facts) < 5 else 0)
    for user, assistant in rng.sample(words.talk, talk):
        chosen = {name: rng.choice(bank) for name, bank in words.talk_words.items()}
        exchanges.append((words.talk_openings, user.format(**chosen), assistant.format(**chosen)))
    rng.shuffle(exchanges)
    turns = []
    for position, (openings, user, assistant) in enumerate(exchanges):
        opening = f"{rng.choice(openings)} " if position and rng.random() < 0.5 else ""
        turns += [Turn("user", opening + user), Turn("assistant", assistant)]
    return tuple(turns)


def _session_id(index: int) -> str:
    return f"session_{index + 1:03}"


def _stamp(rng: Random, day: date) -> str:
    # LongMemEval's format. Written by hand: strftime's day names depend on the locale.
    return f"{day:%Y/%m/%d} ({_WEEKDAYS[day.weekday()]}) {rng.randrange(7, 23):02}:{rng.randrange(60):02}"
