"""Facts and questions of one haystack of the sample dataset, before any session is written.

Facts come first, questions and sessions are made from them. Each slot (what is said of whom) is used once in a
haystack, so no question has two right answers; other people's facts of the same kind are placed in other sessions as
distractors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from memsifter.datasets.sample.words import Relation, load_words
from memsifter.errors import MemSifterError

_PRICE_RANGE = 60  # dollars above the lowest price


@dataclass(frozen=True)
class Person:
    """`who` in a statement, `asked` in a question, and the possessive that fits."""

    who: str
    asked: str
    their: str


USER = Person("I", "I", "my")


@dataclass(frozen=True)
class Fact:
    """One statement of the user in session number `session`. Equal slots are successive values of one thing.

    `value` is what was said (a value, a price); `day` is when an event happened.
    """

    session: int
    slot: tuple[str, str]
    value: str
    text: str
    day: date


class FactPlan:
    """Hands out people, slots, values and sessions without replacement, and collects the facts."""

    def __init__(self, rng: Random, days: Sequence[date]) -> None:
        self.rng = rng
        self.days = days
        self.facts: list[Fact] = []
        self.words = load_words()
        names = {their: rng.sample(bank, len(bank)) for their, bank in self.words.names.items()}
        relatives = [(f"my {kin}", names[their].pop(), their) for kin, their in self.words.relatives]
        self.people = (USER, *(Person(f"{asked} {name}", asked, their) for asked, name, their in relatives))
        self._strangers = names
        self._places = rng.sample(self.words.meeting_places, len(self.words.meeting_places))
        self._values = {
            relation.name: rng.sample(relation.values, len(relation.values)) for relation in self.words.relations
        }
        self._taken: set[tuple[str, str]] = set()
        self._deck: list[int] = []

    def draw_sessions(self, count: int) -> list[int]:
        """Distinct session numbers in random order; every session is drawn once before any is drawn again."""
        drawn: list[int] = []
        while len(drawn) < count:
            if not self._deck:
                rest = [number for number in range(len(self.days)) if number not in drawn]
                self._deck = drawn + self.rng.sample(rest, len(rest))
            drawn.append(self._deck.pop())
        return drawn

    def is_free(self, kind: str, person: Person) -> bool:
        """Whether `kind` was not yet said of the person."""
        return (kind, person.who) not in self._taken

    def free_people(self, kind: str) -> list[Person]:
        """Everyone of whom `kind` was not said, in random order; the user comes first half of the time."""
        free = [person for person in self.people if self.is_free(kind, person)]
        self.rng.shuffle(free)
        if USER in free and self.rng.random() < 0.5:
            free.remove(USER)
            free.insert(0, USER)
        return free

    def values_left(self, kind: str) -> int:
        """How many values of a relation were not yet said; events and purchases never run out."""
        return len(self._values[kind]) if kind in self._values else len(self.people)

    def pick(self, kinds: Sequence[str], values_needed: int = 1) -> str:
        """A kind with enough values and the most people left, so that no kind repeats before all were used.

        Raises:
            MemSifterError: none has values and people left.
        """
        people_left = {
            kind: sum(self.is_free(kind, person) for person in self.people)
            for kind in kinds
            if self.values_left(kind) >= values_needed
        }
        most = max(people_left.values(), default=0)
        if not most:
            raise MemSifterError("sample: so many questions do not fit in one haystack; lower `questions`")
        return self.rng.choice([kind for kind, left in people_left.items() if left == most])

    def has_meetings(self, count: int) -> bool:
        """Whether so many meeting places are left."""
        return len(self._places) >= count

    def meet(self, session: int) -> tuple[Fact, Person]:
        """The user meets somebody; questions can name them only by the place."""
        place = self._places.pop()
        their = max(self._strangers, key=lambda key: len(self._strangers[key]))
        name = self._strangers[their].pop()
        text = self.rng.choice(self.words.meeting_statements).format(place=place, name=name)
        fact = self._add(session, ("meeting", place), name, text)
        return fact, Person(name, f"the person I met at the {place}", their)

    def say(self, relation: Relation, person: Person, session: int, update: bool = False) -> Fact:
        """State a value of a relation, or with `update` the value that replaces the earlier one."""
        value = self._values[relation.name].pop()
        template = self.rng.choice(relation.updates if update else relation.statements)
        return self._add(session, (relation.name, person.who), value, _fill(template, person, value=value))

    def happen(self, event: str, person: Person, session: int, not_on: date | None = None) -> Fact:
        """State that an event happened a few days before the session, on another day than `not_on`."""
        today = self.days[session]
        ago = self.rng.choice([ago for ago in range(len(self.words.days_ago)) if today - timedelta(ago) != not_on])
        past = next(known.past for known in self.words.events if known.base == event)
        text = _fill(self.rng.choice(self.words.event_statements), person, past=past, when=self.words.days_ago[ago])
        return self._add(session, (event, person.who), past, text, today - timedelta(ago))

    def buy(self, item: str, person: Person, session: int, not_for: str = "") -> Fact:
        """State a purchase, at another price than `not_for`."""
        bought = next(purchase for purchase in self.words.purchases if purchase.item == item)
        price = str(
            self.rng.choice(
                [
                    price
                    for price in range(bought.lowest_price, bought.lowest_price + _PRICE_RANGE)
                    if str(price) != not_for
                ]
            )
        )
        template = self.rng.choice(self.words.purchase_statements)
        return self._add(
            session, (item, person.who), price, _fill(template, person, article=bought.article, item=item, price=price)
        )

    def add_unasked(self, total: int) -> None:
        """Fill up with facts that nobody asks about until there are `total`, or nothing is left to say."""
        relations = {relation.name: relation for relation in self.words.relations}
        options = [
            *relations,
            *(event.base for event in self.words.events),
            *(purchase.item for purchase in self.words.purchases),
        ]
        while len(self.facts) < total and options:
            kind = self.rng.choice(options)
            people = self.free_people(kind)
            if not people or not self.values_left(kind):
                options.remove(kind)
                continue
            (session,) = self.draw_sessions(1)
            if kind in relations:
                self.say(relations[kind], people[0], session)
            elif any(kind == event.base for event in self.words.events):
                self.happen(kind, people[0], session)
            else:
                self.buy(kind, people[0], session)

    def _add(self, session: int, slot: tuple[str, str], value: str, text: str, day: date | None = None) -> Fact:
        fact = Fact(session, slot, value, text, day or self.days[session])
        self._taken.add(slot)
        self.facts.append(fact)
        return fact


def _fill(template: str, person: Person, **parts: str) -> str:
    capital = person.who[0].upper() + person.who[1:]
    return template.format(who=person.who, Who=capital, their=person.their, **parts)
