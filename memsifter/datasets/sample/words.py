"""The words of the sample dataset, from `words.yaml` beside this file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class Relation:
    """One thing that can be known about a person, with at most one value at a time.

    `updates` are statements that a later session makes when the value changes; empty where it cannot.
    """

    name: str
    question: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    updates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happens on one day: past tense for statements, base form for questions."""

    past: str
    base: str


@dataclass(frozen=True)
class Purchase:
    """Something that can be bought; the price is in dollars."""

    article: str
    item: str
    lowest_price: int


@dataclass(frozen=True)
class Words:
    """All word banks, in the file's order, which the drawing depends on; `words.yaml` explains each."""

    relatives: tuple[tuple[str, str], ...]
    names: Mapping[str, tuple[str, ...]]
    lasting: tuple[Relation, ...]
    changing: tuple[Relation, ...]
    events: tuple[Event, ...]
    event_statements: tuple[str, ...]
    days_ago: tuple[str, ...]
    purchases: tuple[Purchase, ...]
    purchase_statements: tuple[str, ...]
    meeting_places: tuple[str, ...]
    meeting_statements: tuple[str, ...]
    news_openings: tuple[str, ...]
    talk_openings: tuple[str, ...]
    replies: tuple[str, ...]
    talk: tuple[tuple[str, str], ...]
    talk_words: Mapping[str, tuple[str, ...]]

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Everything that can be known about a person."""
        return (*self.lasting, *self.changing)


@cache
def load_words() -> Words:
    """Read the word banks."""
    banks: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("words.yaml").read_text(encoding="utf-8"))
    relatives = tuple((bank["kin"], bank["their"]) for bank in banks.pop("relatives"))
    talk_words = {name: tuple(words) for name, words in banks.pop("talk_words").items()}
    return Words(
        relatives=relatives,
        names={their: tuple(names) for their, names in banks.pop("names").items()},
        lasting=_relations(banks.pop("lasting")),
        changing=_relations(banks.pop("changing")),
        events=tuple(Event(**bank) for bank in banks.pop("events")),
        purchases=tuple(Purchase(**bank) for bank in banks.pop("purchases")),
        talk=tuple((bank["user"], bank["assistant"]) for bank in banks.pop("talk")),
        talk_words=talk_words | {"relative": tuple(kin for kin, _ in relatives)},
        **{name: tuple(lines) for name, lines in banks.items()},
    )


def _relations(banks: list[dict[str, Any]]) -> tuple[Relation, ...]:
    return tuple(
        Relation(
            name=bank["name"],
            question=bank["question"],
            values=tuple(bank["values"]),
            statements=tuple(bank["statements"]),
            updates=tuple(bank.get("updates", ())),
        )
        for bank in banks
    )
