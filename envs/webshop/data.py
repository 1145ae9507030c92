"""WebShop's catalogue, from its own files or from the generated ones, and the goals it has."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from contrail import ConfigError
from contrail.envs.shared.bm25 import Index
from contrail.envs.shared.data_files import SUFFIXES, data_files, plain_text, plain_texts, read_json
from contrail.envs.webshop.catalogue import generate
from contrail.envs.webshop.goals import MOST_OPTIONS, best_options, human_goals, synthetic_goals
from contrail.envs.webshop.prices import price_range
from contrail.envs.webshop.reward import Goal, Product, reward
from contrail.envs.webshop.split import split_goals

BUTTONS = ("Search", "Back to Search", "< Prev", "Next >")
PAGES = ("Description", "Features", "Reviews")
BUY = "Buy Now"
CATALOGUE = re.compile("items_shuffle|products", re.IGNORECASE)
LONGEST_ASIN = 10
WHERE = (
    "It must hold WebShop's own items_shuffle*.json and items_ins_v2*.json (and, for the "
    "instructions people wrote, items_human_ins.json), plain or gzipped; setup.sh of "
    "github.com/princeton-nlp/WebShop downloads them. Leave `data` out for a generated catalogue."
)

Record = Mapping[str, Any]


class Search(Protocol):
    """A search over the products."""

    def search(self, query: str, count: int) -> list[int]:
        """Return the places of the best products, best first."""


@dataclass(frozen=True)
class Shop:
    """A catalogue, the search over it, and the goals of each split by task id."""

    products: tuple[Product, ...]
    index: Search
    goals: dict[str, dict[str, Goal]]
    notes: tuple[str, ...]
    """What of the data is left out, and why."""

    def search(self, words: str, count: int) -> list[Product]:
        """Return the best hits, best first."""
        return [self.products[place] for place in self.index.search(words, count)]


@lru_cache(maxsize=4)
def load_shop(data: str, instructions: str, goals_per_product: int) -> Shop:
    """Return the shop of some settings of webshop, the same object for all its instances.

    Raises:
        ConfigError: a file is missing, cannot be read or holds something else.
    """
    records, synthetic, human = read_catalogue(data)
    if instructions == "human" and not human:
        raise ConfigError(
            "webshop: instructions is 'human', but data has no items_human_ins.json. " + WHERE
        )
    left: Counter[str] = Counter()
    products = list(read_products(records, synthetic, left))
    notes = reasons(left)
    use_human = human if instructions != "synthetic" else {}
    used = use_human or synthetic
    if strays := len(used.keys() - {product.asin for product in products}):
        notes.append(f"instructions of no product in the catalogue: {strays}")
    goals: dict[str, list[Goal]] = {}
    bypassed = bare = 0
    for product in products:
        if use_human:
            found = human_goals(product, use_human.get(product.asin))
        else:
            found = synthetic_goals(product, synthetic.get(product.asin), goals_per_product)
        # A goal that no clicks on its product fulfil is an error in the data.
        kept = [
            goal
            for goal in found
            if len(goal.options) <= MOST_OPTIONS and reward(goal, product, best_options(goal)) == 1
        ]
        bypassed += len(found) - len(kept)
        if kept:
            goals[product.asin] = kept
        elif not found:
            bare += 1
    if bare:
        notes.append(f"products without an instruction, which are no goals: {bare}")
    if bypassed:
        notes.append(f"left out, as no purchase fulfils them: {bypassed}")
    known = f" ({'; '.join(notes)})" if notes else ""
    if not products:
        raise ConfigError(f"webshop: no product of {data} can be used{known}. {WHERE}")
    if not goals:
        raise ConfigError(
            f"webshop: no product of {data} has an instruction that can be fulfilled{known}. "
            f"{WHERE}"
        )
    split, told = split_goals(goals, products)
    texts = [_searched(product) for product in products]
    if told:
        notes.append(f"left out, as the other split tells them: {told}")
    return Shop(tuple(products), Index(texts), split, tuple(notes))


def reasons(left: Counter[str]) -> list[str]:
    """Return a sentence for each reason why products are left out."""
    return [
        f"{count} product{'s'[: count > 1]} left out: {why}" for why, count in left.items() if count
    ]


def read_catalogue(data: str) -> tuple[list[Any], Record, Record]:
    """Return the products, synthetic and human instructions of the setting; generated ones for "".

    Raises:
        ConfigError: a file is missing, cannot be read or holds something else.
    """
    return _read(Path(data).expanduser()) if data else (*generate(), {})


def _read(path: Path) -> tuple[list[Any], Record, Record]:
    """Products, synthetic and human instructions of a directory, or of a file of products."""
    if path.is_file():
        # People's words, and attributes, are beside it.
        directory, catalogue = path.parent, path
    elif path.is_dir():
        files = [item for item in data_files(path) if CATALOGUE.match(item.name)]
        if not files:
            raise ConfigError(f"webshop: data: there is no items_shuffle*.json in {path}. {WHERE}")
        # WebShop ships 1,000 products and 1,181,436; the small one, unless a file is named.
        directory, catalogue = path, min(files, key=lambda item: item.stat().st_size)
    else:
        raise ConfigError(f"webshop: data: there is no {path}. {WHERE}")
    records = read_json(catalogue)
    if isinstance(records, dict):
        records = list(records.values())
    if not isinstance(records, list) or not any(isinstance(item, dict) for item in records):
        raise ConfigError(f"webshop: data: {catalogue} is not a list of products. {WHERE}")
    tag = catalogue.name.lower().partition("items_shuffle")[2].partition(".")[0]
    synthetic = _instructions(directory, f"items_ins_v2{tag}", "items_ins_v2")
    human = _instructions(directory, "items_human_ins")
    if not synthetic and not human:
        raise ConfigError(f"webshop: data: there is no items_ins_v2*.json in {directory}. {WHERE}")
    return records, synthetic, human


def _instructions(directory: Path, *names: str) -> Record:
    """Return the first file with one of the names: the instructions of each product, by its
    ASIN."""
    for name in names:
        for path in data_files(directory):
            file = path.name.lower()
            if file in {name + suffix for suffix in SUFFIXES} or (
                name == names[-1] and file.startswith(name)
            ):
                found = read_json(path)
                if not isinstance(found, dict):
                    raise ConfigError(f"webshop: data: {path} is not a mapping by ASIN. {WHERE}")
                return {str(key).strip(): value for key, value in found.items()}
    return {}


def read_products(
    records: Sequence[Any],
    instructions: Record,
    left: Counter[str],
    read: Callable[[str, Record, Any], Product] | None = None,
) -> Iterator[Product]:
    """Yield the products as the original takes them: ASINs have at most ten characters, and the
    first product with one is kept.

    Args:
        records: the catalogue.
        instructions: by ASIN.
        left: counts the products that are left out, by reason.
        read: returns the product of an ASIN, a record and an instruction; by default `_product`.
    """
    known: set[str] = set()
    for record in records:
        if not isinstance(record, dict):
            left["not an object"] += 1
            continue
        asin = _asin(record.get("asin"))
        if not asin or asin.lower() == "nan":
            left["no ASIN"] += 1
        elif len(asin) > LONGEST_ASIN:
            left[f"ASIN longer than {LONGEST_ASIN} characters"] += 1
        elif asin in known:
            left["ASIN that an earlier one has"] += 1
        else:
            known.add(asin)
            yield (read or _product)(asin, record, instructions.get(asin))


def _asin(value: Any) -> str:
    """Return a product's ASIN; some catalogues write those of books as numbers."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return plain_text(value) if isinstance(value, (str, int)) else ""


def _product(asin: str, record: Record, said: Any) -> Product:
    low, high = price_range(record.get("pricing"))
    rating = record.get("average_rating")
    attributes = plain_texts(said.get("attributes")) if isinstance(said, dict) else ()
    return Product(
        asin,
        title=plain_text(record.get("name")) or plain_text(record.get("title")) or "Untitled",
        category=plain_text(record.get("category")).lower(),
        query=plain_text(record.get("query")).lower(),
        path=tuple(
            filter(None, map(str.strip, plain_text(record.get("product_category")).split("›")))
        ),
        description=plain_text(record.get("full_description")),
        features=plain_texts(record.get("small_description")),
        reviews=plain_texts(record.get("reviews")),
        rating=f"{rating}" if isinstance(rating, (int, float)) and rating > 0 else "N.A.",
        attributes=attributes or plain_texts(record.get("Attributes")),
        options=_options(record.get("customization_options") or record.get("options")),
        # The original draws a price within the range too, once for each product.
        price=round(random.Random(f"price of {asin}").uniform(low, high), 2),
        price_text=f"${low}" if low == high else f"${low} to ${high}",
    )


def _options(value: Any) -> dict[str, tuple[str, ...]]:
    """Return the choices by group, in lower case; a slash would be part of the original's
    addresses."""
    groups: dict[str, tuple[str, ...]] = {}
    for name, contents in value.items() if isinstance(value, dict) else ():
        items = contents if isinstance(contents, list) else [contents]
        texts = (
            plain_text(item.get("value") if isinstance(item, dict) else item) for item in items
        )
        plain = dict.fromkeys(
            " ".join(text.replace("/", " | ").split()).lower() for text in texts if text
        )
        taken = {button.lower() for button in (*BUTTONS, *PAGES, BUY)}
        if kept := tuple(text for text in plain if text not in taken):
            groups[plain_text(name).lower()] = kept
    return groups


def _searched(product: Product) -> str:
    """Return the searchable text: the original's, and the categories, features and attributes."""
    choices = itertools.chain.from_iterable(product.options.values())
    parts = (product.title, product.description, *product.features, *product.path, product.query)
    return " ".join((*parts, *choices)).lower()
