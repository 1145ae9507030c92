"""Questions of one, two and three hops about the facts of searchqa_world.

A hop is a document that one must read.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

from contrail.envs.searchqa_answers import Question, normalise, spans
from contrail.envs.searchqa_world import Entity, World

PER_HOPS = 500  # questions
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


def generate() -> tuple[list[tuple[str, str]], list[Question]]:
    """The documents (title, text), and the questions about them: always the same.

    Raises:
        ImportError: one of the packages is not installed.
    """
    world = World()
    questions: list[Question] = []
    for hops, drafts in ((1, _one_hop(world)), (2, _two_hops(world)), (3, _three_hops(world))):
        for _, text, answer, path in _mixed(drafts, world.documents):
            gold = tuple(entity.place for entity in path)
            name = f"{hops}-hop/{len(questions)}"
            questions.append(Question(name, text, world.names(answer), gold, hops))
    return world.documents, questions


def _sound(text: str, answer: str, documents: Sequence[tuple[str, str]]) -> bool:
    """Whether the answer is a name or number of the last document, and is told nowhere before."""
    wanted = f" {normalise(answer)} "
    *early, (_, last) = documents
    told = any(wanted in f" {normalise(' '.join(each))} " for each in (*early, [text]))
    return not told and wanted.strip() in map(normalise, spans(last))


def _mixed(drafts: Iterable[Draft], documents: Sequence[tuple[str, str]]) -> list[Draft]:
    """As many sound questions of each kind as there are, up to an equal share."""
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
        chosen += itertools.islice(sound, (PER_HOPS - len(chosen)) // left)
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
