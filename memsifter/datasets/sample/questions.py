"""The questions of one haystack of the sample dataset: each adds its own facts and distractors to the plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memsifter.datasets.sample.plan import Fact, FactPlan, Person
from memsifter.datasets.sample.words import Relation
from memsifter.errors import MemSifterError

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A question and the facts that answer it: all of them are needed."""

    category: str
    question: str
    answer: str
    facts: tuple[Fact, ...]


def ask_single_hop(plan: FactPlan) -> Draft:
    """A value or a price, said in one session; other people's values of the same kind are elsewhere."""
    if plan.rng.random() < 0.2:
        item = plan.pick(_items(plan))
        person, fact = _state_with_distractors(plan, item, plan.buy)
        return Draft("single-hop", f"How much did {person.asked} pay for the {item}?", f"${fact.value}", (fact,))
    relation = _pick_relation(plan, plan.words.relations, values_needed=1)
    person, *others = plan.free_people(relation.name)[:4]
    session, *elsewhere = plan.draw_sessions(1 + len(others))
    fact = plan.say(relation, person, session)
    _distract(plan, relation, others, elsewhere)
    return Draft("single-hop", _question(relation, person), fact.value, (fact,))


def ask_knowledge_update(plan: FactPlan) -> Draft:
    """A value that a later session replaces; the answer is the newest, and both sessions are gold."""
    relation = _pick_relation(plan, plan.words.changing, values_needed=2)
    person, *others = plan.free_people(relation.name)[:3]
    sessions = plan.draw_sessions(2 + len(others))
    earlier, later = sorted(sessions[:2])
    old = plan.say(relation, person, earlier)
    new = plan.say(relation, person, later, update=True)
    _distract(plan, relation, others, sessions[2:])
    return Draft("knowledge-update", _question(relation, person), new.value, (old, new))


def ask_temporal(plan: FactPlan) -> Draft:
    """The date of an event, the first of two events, or the days between them; session dates are needed."""
    if plan.rng.random() < 0.5:
        event = plan.pick(_events(plan))
        person, fact = _state_with_distractors(plan, event, plan.happen)
        answer = f"{fact.day.day} {_MONTHS[fact.day.month - 1]} {fact.day.year}"
        return Draft("temporal", f"When did {person.asked} {event}?", answer, (fact,))
    person, first, second = _pick_pair(plan, _events(plan))
    sessions = plan.draw_sessions(4)
    one = plan.happen(first, person, sessions[0])
    two = plan.happen(second, person, sessions[1], not_on=one.day)
    for event, session in zip((first, second), sessions[2:], strict=True):
        for other in plan.free_people(event)[:1]:
            plan.happen(event, other, session)
    if plan.rng.random() < 0.5:
        question = f"What did {person.asked} do first: {first} or {second}?"
        return Draft("temporal", question, first if one.day < two.day else second, (one, two))
    days = abs((one.day - two.day).days)
    question = (
        f"How many days passed between the day {person.asked} {one.value} and the day {person.asked} {two.value}?"
    )
    return Draft("temporal", question, "1 day" if days == 1 else f"{days} days", (one, two))


def ask_multi_hop(plan: FactPlan) -> Draft:
    """Something about a person known only by a meeting, or two prices to add or compare; two sessions are needed."""
    if plan.has_meetings(2) and plan.rng.random() < 0.6:
        relation = _pick_relation(plan, plan.words.lasting, values_needed=2)
        sessions = plan.draw_sessions(5)
        earlier, later = sorted(sessions[:2])
        meeting, stranger = plan.meet(earlier)
        fact = plan.say(relation, stranger, later)
        _, other = plan.meet(sessions[2])
        _distract(plan, relation, [other, *plan.free_people(relation.name)[:1]], sessions[3:])
        question = relation.question.format(who=stranger.asked, their="their")
        return Draft("multi-hop", question, fact.value, (meeting, fact))
    person, first, second = _pick_pair(plan, _items(plan))
    sessions = plan.draw_sessions(4)
    one = plan.buy(first, person, sessions[0])
    two = plan.buy(second, person, sessions[1], not_for=one.value)
    for item, session in zip((first, second), sessions[2:], strict=True):
        for other in plan.free_people(item)[:1]:
            plan.buy(item, other, session)
    if plan.rng.random() < 0.5:
        question = f"What did {person.asked} pay more for, the {first} or the {second}?"
        return Draft("multi-hop", question, first if int(one.value) > int(two.value) else second, (one, two))
    question = f"How much did {person.asked} pay in total for the {first} and the {second}?"
    return Draft("multi-hop", question, f"${int(one.value) + int(two.value)}", (one, two))


# The first four are all different, so that the smallest dataset has every category; single-hop is the most frequent.
_CYCLE: tuple[Callable[[FactPlan], Draft], ...] = (
    ask_single_hop,
    ask_multi_hop,
    ask_temporal,
    ask_knowledge_update,
    ask_single_hop,
)


def ask_questions(plan: FactPlan, count: int) -> list[Draft]:
    """Plan `count` questions, the categories in turn.

    Raises:
        MemSifterError: the haystack has nothing left to ask about.
    """
    return [_CYCLE[number % len(_CYCLE)](plan) for number in range(count)]


def _events(plan: FactPlan) -> list[str]:
    return [event.base for event in plan.words.events]


def _items(plan: FactPlan) -> list[str]:
    return [purchase.item for purchase in plan.words.purchases]


def _pick_relation(plan: FactPlan, relations: Sequence[Relation], values_needed: int) -> Relation:
    name = plan.pick([relation.name for relation in relations], values_needed)
    return next(relation for relation in relations if relation.name == name)


def _pick_pair(plan: FactPlan, kinds: Sequence[str]) -> tuple[Person, str, str]:
    """A person, and two kinds of happening that were not yet said of them."""
    first = plan.pick(kinds)
    for person in plan.free_people(first):
        if rest := [kind for kind in kinds if kind != first and plan.is_free(kind, person)]:
            return person, first, plan.pick(rest)
    raise MemSifterError("sample: so many questions do not fit in one haystack; lower `questions`")


def _state_with_distractors(
    plan: FactPlan, kind: str, state: Callable[[str, Person, int], Fact]
) -> tuple[Person, Fact]:
    """Something that happened to one person, and the same to up to two others in other sessions."""
    person, *others = plan.free_people(kind)[:3]
    session, *elsewhere = plan.draw_sessions(1 + len(others))
    fact = state(kind, person, session)
    for other, place in zip(others, elsewhere, strict=True):
        state(kind, other, place)
    return person, fact


def _distract(plan: FactPlan, relation: Relation, people: Sequence[Person], sessions: Sequence[int]) -> None:
    """Say the same kind of thing of other people, as long as there are values for it."""
    for person, session in list(zip(people, sessions, strict=False))[: plan.values_left(relation.name)]:
        plan.say(relation, person, session)


def _question(relation: Relation, person: Person) -> str:
    return relation.question.format(who=person.asked, their=person.their)
