"""Questions of one, two and three hops about the facts of searchqa_world.

A hop is a document that one must read. Countries, with all that lies in them, are for training or
for testing: no document that a test question takes is needed for a training question.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from contrail.envs.searchqa.answers import Question, normalise, spans
from contrail.envs.searchqa.world import Entity, World

PER_HOPS = {"train": 400, "test": 100}  # questions
TEST_SHARE = 0.2
DISCOVERED = "element of a country"
COUNTRY_FACTS = {
    "capital": "the capital of",
    "continent": "the continent of",
    "iso3": "the three-letter ISO code of",
    "phone": "the calling code of",
    "currency code": "the code of the currency of",
}
ELEMENT_FACTS = {
    "symbol": "What is the symbol of the chemical element {name}?",
    "number": "What is the atomic number of {name}?",
    "name": "Which chemical element has the atomic number {number}?",
    "year": "In which year was the chemical element {name} discovered?",
}

Draft = tuple[str, str, str, tuple[Entity, ...]]  # kind, question, answer, what to read


def generate() -> tuple[list[tuple[str, str]], dict[str, list[Question]]]:
    """Return the documents (title, text), and the questions of each split: always the same.

    Raises:
        ImportError: one of the packages is not installed.
    """
    world = World()
    tests = _tested(world)
    questions: dict[str, list[Question]] = {split: [] for split in PER_HOPS}
    made = itertools.count()
    for hops, drafts in ((1, _one_hop(world)), (2, _two_hops(world)), (3, _three_hops(world))):
        by_split: dict[str, list[Draft]] = {split: [] for split in PER_HOPS}
        for draft in drafts:
            by_split["test" if draft[3][0].place in tests else "train"].append(draft)
        for split, its in by_split.items():
            for _, text, answer, path in _mixed(its, world.documents, PER_HOPS[split]):
                gold = tuple(entity.place for entity in path)
                facts = tuple(map(str, gold))
                name = f"{hops}-hop/{next(made)}"
                questions[split].append(
                    Question(name, text, world.names(answer), gold, hops, facts)
                )
    return world.documents, questions


def _tested(world: World) -> set[int]:
    """Return the places of the documents of test questions, about a fifth.

    Documents that a question can lead from one to the other stay together: a country with its
    cities, airports, elements and currency, and so all countries that share a currency.
    """
    together: dict[int, list[int]] = defaultdict(list)  # by the place of what they hang on
    for entity in (*world.cities.values(), *world.airports, *world.elements):
        root = entity
        while root.links:
            root = next(iter(root.links.values()))
        together[root.place].append(entity.place)
    for country in world.countries.values():
        together[country.links.get("currency", country).place].append(country.place)
    for currency in world.currencies.values():
        together[currency.place].append(currency.place)
    kinds = _kinds(world)
    room = Counter({kind: round(n * TEST_SHARE) for kind, n in Counter(kinds.values()).items()})
    tests: set[int] = set()

    def turn(place: int) -> tuple[bool, bytes]:
        # The few countries where elements were discovered first: later there is no room for them.
        found = any(kinds[other] == DISCOVERED for other in together[place])
        return not found, hashlib.sha256(world.documents[place][0].encode()).digest()

    for place in sorted(together, key=turn):
        group = set(together[place])
        needed = Counter(kinds[place] for place in group)
        if needed <= room:
            tests |= group
            room -= needed
    return tests


def _kinds(world: World) -> dict[int, str]:
    """Return the subject of each document. Elements that lead to a country are a kind of their
    own."""
    kinds = {entity.place: "currency" for entity in world.currencies.values()}
    kinds.update((entity.place, "country") for entity in world.countries.values())
    kinds.update((entity.place, "city") for entity in world.cities.values())
    kinds.update((entity.place, "airport") for entity in world.airports)
    kinds.update((e.place, DISCOVERED if e.links else "element") for e in world.elements)
    return kinds


def _sound(text: str, answer: str, documents: Sequence[tuple[str, str]]) -> bool:
    """Return whether the answer is a name or number of the last document, and of no earlier one."""
    wanted = f" {normalise(answer)} "
    *early, (_, last) = documents
    told = any(wanted in f" {normalise(' '.join(each))} " for each in (*early, [text]))
    return not told and wanted.strip() in map(normalise, spans(last))


def _mixed(
    drafts: Iterable[Draft], documents: Sequence[tuple[str, str]], number: int
) -> list[Draft]:
    """Return equally many sound questions of each kind, as far as there are enough."""
    by_kind: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_kind.setdefault(draft[0], []).append(draft)
    chosen: list[Draft] = []
    for left, (kind, its) in zip(
        range(len(by_kind), 0, -1),
        sorted(by_kind.items(), key=lambda item: (len(item[1]), item[0])),
        strict=True,
    ):
        random.Random(kind).shuffle(its)
        sound = (
            (kind, text, answer, path)
            for _, text, answer, path in its
            if _sound(text, answer, [documents[entity.place] for entity in path])
        )
        chosen += itertools.islice(sound, (number - len(chosen)) // left)
    return chosen


def _one_hop(world: World) -> Iterator[Draft]:
    for country in world.countries.values():
        for fact, asked in COUNTRY_FACTS.items():
            if value := country.facts.get(fact):
                yield fact, f"What is {asked} {country.title}?", value, (country,)
    for city in world.cities.values():
        where = city.links["country"].title
        yield "city", f"In which country does the city of {city.title} lie?", where, (city,)
    for airport in world.airports:
        code = airport.facts["iata"]
        city = airport.links["city"]
        text = f"Which city does the airport with the IATA code {code} serve?"
        yield "airport", text, city.title, (airport,)
    for element in world.elements:
        for fact, asked in ELEMENT_FACTS.items():
            if value := element.facts.get(fact):
                yield fact, asked.format(**element.facts), value, (element,)


def _two_hops(world: World) -> Iterator[Draft]:
    for city in world.cities.values():
        yield from _of_country(f"the country in which the city of {city.title} lies", city)
    for airport in world.airports:
        city = airport.links["city"]
        text = f"In which country does the city lie that is served by {_named(airport)}?"
        yield "airport", text, city.links["country"].title, (airport, city)
    for element in world.elements:
        if "country" in element.links:
            yield from _of_country(
                f"the country where {element.title.lower()} was discovered", element
            )
    for country in world.countries.values():
        yield from _of_currency(country.title, country)


def _three_hops(world: World) -> Iterator[Draft]:
    for airport in world.airports:
        city = airport.links["city"]
        lies = f"the country in which the city served by {_named(airport)} lies"
        for kind, text, answer, path in _of_country(lies, city):
            yield f"airport, {kind}", text, answer, (airport, *path)
    for city in world.cities.values():
        lies = f"the country in which the city of {city.title} lies"
        for kind, text, answer, path in _of_currency(lies, city.links["country"]):
            yield f"city, {kind}", text, answer, (city, *path)
    for element in world.elements:
        if "country" in element.links:
            found = f"the country where {element.title.lower()} was discovered"
            for kind, text, answer, path in _of_currency(found, element.links["country"]):
                yield f"element, {kind}", text, answer, (element, *path)


def _named(airport: Entity) -> str:
    known = airport.facts.get("name")
    return known if known else f"the airport with the IATA code {airport.facts['iata']}"


def _of_country(words: str, of: Entity) -> Iterator[Draft]:
    """Questions about the country that something lies in; `words` describe the country."""
    country = of.links["country"]
    for fact, asked in COUNTRY_FACTS.items():
        if value := country.facts.get(fact):
            yield fact, f"What is {asked} {words}?", value, (of, country)


def _of_currency(words: str, country: Entity) -> Iterator[Draft]:
    """Questions about the currency of a country, which `words` describe."""
    if currency := country.links.get("currency"):
        text = f"What is the name of the currency used in {words}?"
        yield "currency", text, currency.facts["name"], (country, currency)
        text = f"What is the ISO number of the currency used in {words}?"
        yield "number", text, currency.facts["number"], (country, currency)
