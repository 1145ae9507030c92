"""WebShop's catalogue and goals, from its own files or from the generated ones."""

from __future__ import annotations

import hashlib
import html
import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from contrail.envs.bm25 import Index
from contrail.envs.data_files import SUFFIXES, data_files, read_json
from contrail.envs.webshop_catalogue import generate
from contrail.envs.webshop_reward import NO_LIMIT, Goal, Product, alike_option, reward
from contrail.errors import ConfigError

BUTTONS = ("Search", "Back to Search", "< Prev", "Next >")
PAGES = ("Description", "Features", "Reviews")
BUY = "Buy Now"
PRICE = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,9}(?:\.\d+)?")
UNKNOWN_PRICE = 100.0  # WebShop's own, for products without a price
PRICE_STEPS = [10.0 * step for step in range(1, 100)]
TEST_SHARE = 0.2
MOST_OPTIONS = 7  # in ten turns, three of which are the search, the product and Buy Now
WHERE = (
    "It must hold WebShop's own items_shuffle*.json and items_ins_v2*.json (and, for the "
    "instructions people wrote, items_human_ins.json), plain or gzipped; setup.sh of "
    "github.com/princeton-nlp/WebShop downloads them. Leave `data` out for a generated catalogue."
)

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Shop:
    """A catalogue, the search over it, and the goals of each split by task id."""

    products: tuple[Product, ...]
    index: Index
    goals: dict[str, dict[str, Goal]]

    def search(self, words: str, count: int) -> list[Product]:
        """The best hits, best first."""
        return [self.products[place] for place in self.index.search(words, count)]


@lru_cache(maxsize=4)
def load_shop(data: str, instructions: str, goals_per_product: int) -> Shop:
    """The shop of some settings of webshop, the same object for all its instances.

    Raises:
        ConfigError: a file is missing, cannot be read or holds something else.
    """
    records, synthetic, human = _read(Path(data).expanduser()) if data else (*generate(), {})
    if instructions == "human" and not human:
        raise ConfigError(
            "webshop: instructions is 'human', but data has no items_human_ins.json. " + WHERE
        )
    products = list(_products(records, synthetic))
    use_human = human if instructions != "synthetic" else {}
    goals: dict[str, list[Goal]] = {}
    for product in products:
        if use_human:
            found = _human_goals(product, use_human.get(product.asin))
        else:
            found = _synthetic_goals(product, synthetic.get(product.asin), goals_per_product)
        # What not even the product itself fulfils is a slip in the data and no goal.
        found = [
            goal
            for goal in found
            if len(goal.options) <= MOST_OPTIONS and reward(goal, product, best_options(goal)) == 1
        ]
        if found:
            goals[product.asin] = found
    if not goals:
        raise ConfigError(f"webshop: no product of {data} has an instruction. {WHERE}")
    texts = [_searched(product) for product in products]
    return Shop(tuple(products), Index(texts), _split(goals))


def best_options(goal: Goal) -> list[str]:
    """The product's own options that fulfil the goal's, as far as it has them."""
    found = []
    offered = [value for values in goal.product.options.values() for value in values]
    for wanted in goal.options:
        fits = [value for value in offered if alike_option(value, wanted)]
        found += [wanted] if wanted in fits else fits[:1]
    return list(dict.fromkeys(found))


def _read(path: Path) -> tuple[list[Any], Record, Record]:
    """Products, synthetic and human instructions of a directory, or of a file of products."""
    if path.is_file():
        # Words of people, and attributes, stand beside it.
        directory, catalogue = path.parent, path
    elif path.is_dir():
        files = [item for item in data_files(path) if re.match("items_shuffle|products", item.name)]
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
    tag = catalogue.name.partition("items_shuffle")[2].partition(".")[0]
    synthetic = _instructions(directory, f"items_ins_v2{tag}", "items_ins_v2")
    human = _instructions(directory, "items_human_ins")
    if not synthetic and not human:
        raise ConfigError(f"webshop: data: there is no items_ins_v2*.json in {directory}. {WHERE}")
    return records, synthetic, human


def _instructions(directory: Path, *names: str) -> Record:
    """The first file of one of the names: what is said of each product, by its ASIN."""
    for name in names:
        for path in data_files(directory):
            if path.name in {name + suffix for suffix in SUFFIXES} or (
                name == names[-1] and path.name.startswith(name)
            ):
                found = read_json(path)
                if not isinstance(found, dict):
                    raise ConfigError(f"webshop: data: {path} is not a mapping by ASIN. {WHERE}")
                return {str(key).strip(): value for key, value in found.items()}
    return {}


def _products(records: Sequence[Any], instructions: Record) -> Iterator[Product]:
    known: set[str] = set()
    for record in records:
        if not isinstance(record, dict):
            continue
        asin = _text(record.get("asin"))
        # As in the original: ASINs have ten characters, and the first of a kind is kept.
        if not asin or asin.lower() == "nan" or len(asin) > 10 or asin in known:
            continue
        known.add(asin)
        yield _product(asin, record, instructions.get(asin))


def _product(asin: str, record: Record, said: Any) -> Product:
    low, high = _prices(record.get("pricing"))
    rating = record.get("average_rating")
    attributes = _texts(said.get("attributes")) if isinstance(said, dict) else ()
    return Product(
        asin,
        title=_text(record.get("name")) or _text(record.get("title")) or "Untitled",
        category=_text(record.get("category")).lower(),
        query=_text(record.get("query")).lower(),
        path=tuple(filter(None, map(str.strip, _text(record.get("product_category")).split("›")))),
        description=_text(record.get("full_description")),
        features=_texts(record.get("small_description")),
        reviews=_texts(record.get("reviews")),
        rating=f"{rating}" if isinstance(rating, (int, float)) and rating > 0 else "N.A.",
        attributes=attributes or _texts(record.get("Attributes")),
        options=_options(record.get("customization_options") or record.get("options")),
        # The original draws a price within the range too, once for each product.
        price=round(random.Random(f"price of {asin}").uniform(low, high), 2),
        price_text=f"${low}" if low == high else f"${low} to ${high}",
    )


def _text(value: Any) -> str:
    """Plain text of whatever stands in a field; "" for none."""
    if value is None or isinstance(value, bool) or value != value:
        return ""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))
    return " ".join(html.unescape(str(value)).split())


def _texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, map(_text, items))))


def _prices(value: Any) -> tuple[float, float]:
    """The lowest and highest price in a field such as "$78.42$94.90" or "$10.99 to $20"."""
    found = [float(number.replace(",", "")) for number in PRICE.findall(_text(value))][:2]
    found = [number for number in found if 0 < number < NO_LIMIT] or [UNKNOWN_PRICE]
    return min(found), max(found)


def _options(value: Any) -> dict[str, tuple[str, ...]]:
    """The choices by group, in lower case; a slash would stand in the original's addresses."""
    groups: dict[str, tuple[str, ...]] = {}
    for name, contents in value.items() if isinstance(value, dict) else ():
        items = contents if isinstance(contents, list) else [contents]
        texts = (_text(item.get("value") if isinstance(item, dict) else item) for item in items)
        plain = dict.fromkeys(
            " ".join(text.replace("/", " | ").split()).lower() for text in texts if text
        )
        taken = {button.lower() for button in (*BUTTONS, *PAGES, BUY)}
        if kept := tuple(text for text in plain if text not in taken):
            groups[_text(name).lower()] = kept
    return groups


def _limit(product: Product, name: str) -> tuple[float, str]:
    """A price bound: the higher of two of the next four steps of ten dollars, and its words."""
    above = [step for step in PRICE_STEPS if step > product.price][:4]
    if len(above) < 2:
        return NO_LIMIT, ""
    limit = max(random.Random(f"limit of {name}").sample(above, 2))
    return limit, f", and price lower than {limit:.2f} dollars"


def _synthetic_goals(product: Product, said: Any, most: int) -> list[Goal]:
    """At most so many goals, one for each drawn combination of options.

    Not asked for are options that the reward cannot tell from another of the same product ("large"
    and "x-large"): the wrong choice would be as good.
    """
    if not isinstance(said, dict) or not (instruction := _text(said.get("instruction"))):
        return []
    offered = [value for values in product.options.values() for value in values]
    clear = {
        name: [value for value in values if sum(alike_option(o, value) for o in offered) == 1]
        for name, values in sorted(product.options.items())
    }
    names = [name for name, values in clear.items() if values]
    choices = [clear[name] for name in names]
    total = math.prod(map(len, choices))
    rng = random.Random(f"options of {product.asin}")
    drawn = rng.sample(range(total), min(most, total)) if total < 1 << 60 else range(most)
    goals = []
    for number in sorted(drawn):
        picked = []
        for values in choices:
            number, place = divmod(number, len(values))
            picked.append(values[place])
        with_options = ", and ".join(f"{name}: {v}" for name, v in zip(names, picked, strict=True))
        limit, in_words = _limit(product, f"{product.asin} {picked}")
        text = instruction + (f" with {with_options}" if picked else "") + in_words
        wanted = _texts(said.get("instruction_attributes"))
        goals.append(Goal(text, product, wanted, tuple(picked), limit))
    return goals


def _human_goals(product: Product, said: Any) -> list[Goal]:
    goals = []
    for number, item in enumerate(said if isinstance(said, list) else [said]):
        wanted = _texts(item.get("instruction_attributes")) if isinstance(item, dict) else ()
        instruction = _text(item.get("instruction")).strip(".") if wanted else ""
        if instruction:
            options = item.get("instruction_options")
            options = list(options.values()) if isinstance(options, dict) else options
            chosen = tuple(text.lower() for text in _texts(options))
            limit, in_words = _limit(product, f"{product.asin} {number}")
            goals.append(Goal(instruction + in_words, product, wanted, chosen, limit))
    return goals


def _searched(product: Product) -> str:
    """What the search sees; the original's text and the categories, features and attributes."""
    choices = itertools.chain.from_iterable(product.options.values())
    parts = (product.title, product.description, *product.features, *product.path, product.query)
    return " ".join((*parts, *choices)).lower()


def _split(goals: Mapping[str, list[Goal]]) -> dict[str, dict[str, Goal]]:
    """A fifth of the products for testing, by ASIN; no instruction stands in both splits."""
    order = sorted(goals, key=lambda asin: hashlib.sha256(asin.encode()).digest())
    tests = set(order[: max(1, round(len(order) * TEST_SHARE))])
    split: dict[str, dict[str, Goal]] = {"train": {}, "test": {}}
    tested = {goal.instruction for asin in tests for goal in goals[asin]}
    for asin in sorted(goals):
        for number, goal in enumerate(goals[asin]):
            name = f"{asin}/{number}"
            if asin in tests:
                split["test"][name] = goal
            elif goal.instruction not in tested:
                split["train"][name] = goal
    return split
