"""The goals of a shop for training and for testing, in whole families of products.

A family consists of products of one kind, found by the same query ("men's shorts"), and of products
whose titles differ only in colours, numbers, attributes and options: look-alikes of one brand or of
several. No goal of one side can be fulfilled by buying a goal of the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence

from contrail.envs.shared.families import families
from contrail.envs.webshop.goals import best_options
from contrail.envs.webshop.reward import (
    COLOURS,
    NOT_NOUNS,
    Goal,
    Product,
    alike_option,
    has_attribute,
    reward,
)

TEST_SHARE = 0.2
UNITS = frozenset("inch inches in ft feet cm mm lb lbs pack packs count".split())  # noqa: SIM905
WORD = re.compile(r"[^\W\d_]+")


def split_goals(
    goals: Mapping[str, Sequence[Goal]], catalogue: Sequence[Product]
) -> tuple[dict[str, dict[str, Goal]], int]:
    """Return a fifth of the products for testing, as far as whole families allow.

    Goals that a product of the other side fulfils are left out, first from the tests.

    Args:
        goals: by ASIN, of all products that have goals.
        catalogue: all products. They are divided, so that other instructions for the same catalogue
            are divided alike; if that leaves a side without goals, the products with goals are
            divided.

    Returns:
        The goals of each split by the names of their tasks, and how many are left out.
    """
    products = {asin: its[0].product for asin, its in goals.items()}
    tests = _tested(catalogue) & goals.keys()
    if not tests or len(tests) == len(goals):
        tests = _tested([*products.values()])
    trained = [asin for asin in goals if asin not in tests]
    split = {"test": _left(goals, sorted(tests), [products[asin] for asin in trained], frozenset())}
    tested = {goal.product.asin: goal.product for goal in split["test"].values()}
    asked = frozenset(goal.instruction for goal in split["test"].values())
    split["train"] = _left(goals, sorted(trained), [*tested.values()], asked)
    return split, sum(map(len, goals.values())) - sum(map(len, split.values()))


def _tested(products: Sequence[Product]) -> set[str]:
    """Return the ASINs of a fifth of the products, in whole families; of one family none."""
    room = max(1, round(len(products) * TEST_SHARE))
    tests: set[str] = set()
    alike = sorted(product_families(products), key=_lot)
    for family in alike:
        if len(family) <= room - len(tests):
            tests.update(family)
    if not tests and len(alike) > 1:  # few families, and large: the smallest is for testing
        tests.update(sorted(alike, key=len)[0])
    return tests


def _left(
    goals: Mapping[str, Sequence[Goal]],
    asins: Sequence[str],
    others: Sequence[Product],
    asked: frozenset[str],
) -> dict[str, Goal]:
    """Return one side's goals by the names of their tasks, without goals that the other side
    reveals.

    Args:
        goals: of all products.
        asins: the products of this side.
        others: the products of the other side.
        asked: the other side's instructions.
    """
    fulfilled = _Fulfilled(others)
    return {
        f"{asin}/{number}": goal
        for asin in asins
        for number, goal in enumerate(goals[asin])
        if goal.instruction not in asked and not fulfilled(goal)
    }


class _Fulfilled:
    """Whether one of the products, bought with its best options, earns a goal's full reward.

    Which products have an attribute or an option is kept: many goals ask for the same.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = products
        self._offered = [
            {v for its in product.options.values() for v in its} for product in products
        ]
        self._with: dict[tuple[str, str, str], frozenset[int]] = {}

    def __call__(self, goal: Goal) -> bool:
        fit = set(range(len(self._products)))
        for attribute in goal.attributes:
            fit &= self._having("attribute", attribute)
        for option, group in goal.wishes():
            fit &= self._having("option", option, group)
        return any(
            reward(goal, product, best_options(goal, product)) == 1
            for product in (self._products[place] for place in sorted(fit))
            if product.price <= goal.limit
        )

    def _having(self, what: str, wanted: str, group: str = "") -> frozenset[int]:
        if (what, wanted, group) not in self._with:
            self._with[what, wanted, group] = frozenset(
                place
                for place, product in enumerate(self._products)
                if (
                    has_attribute(product, wanted)
                    if what == "attribute"
                    else any(alike_option(one, wanted, group) for one in self._offered[place])
                )
            )
        return self._with[what, wanted, group]


def product_families(products: Sequence[Product]) -> list[frozenset[str]]:
    """Return the products' ASINs in families: those that share a query or a plain title,
    transitively."""
    return [frozenset(product.asin for product in family) for family in families(products, _looks)]


def _looks(product: Product) -> Iterator[Hashable]:
    if product.query:
        yield "query", product.query
    told = " ".join((*product.attributes, *(v for its in product.options.values() for v in its)))
    ignored = {*WORD.findall(told.lower()), *NOT_NOUNS, *UNITS}
    words = {*WORD.findall(COLOURS.sub(" ", product.title.lower()))} - ignored
    # Too few words denote a kind of thing, not a product.
    if len(words) >= 2:
        yield "title", frozenset(words)


def _lot(family: frozenset[str]) -> bytes:
    return hashlib.sha256(min(family).encode()).digest()
