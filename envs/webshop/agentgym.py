"""WebShop by AgentGym's rules: its goals in its order, its pages, its search and its score."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from contrail import ConfigError, Observation, Task
from contrail.envs.shared.agentgym import numbers_in, task_id
from contrail.envs.shared.data_files import plain_text
from contrail.envs.webshop.agentgym_score import score
from contrail.envs.webshop.agentgym_search import LuceneIndex
from contrail.envs.webshop.data import Shop, read_catalogue, read_products, reasons
from contrail.envs.webshop.environment import WebShop
from contrail.envs.webshop.goals import PRICE_STEPS
from contrail.envs.webshop.prices import price_range
from contrail.envs.webshop.reward import NO_LIMIT, Goal, Product

SEED = 233  # of the price bounds, and again of the order of the goals
PRODUCTS = 1000  # of the catalogue, from its beginning
TESTS = 200  # goals, if no file says which
NEXT = "Next >"
LONGEST_ACTION = 10_000  # characters


class AgentGymWebShop(WebShop):
    """WebShop with `like: agentgym`.

    A task's id is "agentgym-N": the N-th synthetic goal, of all combinations of options, after the
    original's shuffle.
    """

    system_prompt = (
        "You are shopping on a website. Each turn you are shown a page, and you answer with one "
        "action that follows the instruction on it.\n\nThe actions are:\n\nsearch[keywords]\n\n"
        "click[value]\n\nYou may search on the page with the search box; choose the keywords "
        "well. The value of a click is a button, product or option of the page. An action that is "
        "not possible changes nothing."
    )
    max_turns = 10

    def _load(self) -> Shop:
        self._reward = score
        return load_shop(self.config.data, self.config.test_ids)

    def _read(self, action: str) -> tuple[str, str]:
        """Read what stands in the last brackets of the first line; the verb is all before them."""
        line = action.strip()[:LONGEST_ACTION].split("\n")[0]
        end = line.rfind("]")
        start = line.rfind("[", 0, max(0, end - 1))
        words = line[start + 1 : end].lower()
        return (line[:start], words) if start > 0 and words != "search" else ("", "")

    def _refusal(self) -> Observation:
        return self._observe()

    def _choose(self, product: Product, value: str) -> None:
        """Choose an option in the last group that holds it."""
        groups = [name for name, values in product.options.items() if value in values]
        self._chosen[groups[-1]] = value

    def _options_of(self, goal: Goal) -> list[str]:
        return list(dict.fromkeys(goal.options))

    def expert(self, task: Task) -> list[str] | None:
        """Return the expert's play; None also if the goal's own product cannot earn all, or not in
        time."""
        goal = self._goal_of(task)
        chosen: dict[str, str] = {}
        for value in self._options_of(goal):
            chosen[[name for name, its in goal.product.options.items() if value in its][-1]] = value
        plan = super().expert(task) if score(goal, goal.product, chosen.values()) == 1 else None
        return plan if plan and len(plan) <= self.max_turns else None

    def _texts(self) -> list[str]:
        return [text.strip() for text in super()._texts()]

    def _reminders(self) -> list[str]:
        return []

    def _buttons(self) -> list[str]:
        buttons = super()._buttons()
        if self._page and self._product is None and NEXT not in buttons:  # on the last page too
            buttons.insert(1 + (self._page > 1), NEXT)
        return buttons

    def _actions(self) -> tuple[str, ...]:
        return tuple(f"click[{text}]" for text in self._buttons()) or super()._actions()


@lru_cache(maxsize=4)
def load_shop(data: str, test_ids: str) -> Shop:
    """Return the shop of some settings, the same object for all instances.

    Raises:
        ConfigError: a file is missing, cannot be read or holds something else.
    """
    records, said, _ = read_catalogue(data)
    left: Counter[str] = Counter()
    products = tuple(read_products(records[:PRODUCTS], said, left, read_product))
    goals = goals_in_order(products, said)
    if not goals:
        raise ConfigError(f"webshop: data: {data} has no synthetic goal (items_ins_v2*.json).")
    tests = numbers_in(test_ids) if test_ids else frozenset(range(min(TESTS, len(goals) // 5)))
    split: dict[str, dict[str, Goal]] = {"train": {}, "test": {}}
    for number, goal in enumerate(goals):
        split["test" if number in tests else "train"][task_id(number)] = goal
    for side, its in split.items():
        if not its:
            where = f"test_ids: {test_ids}" if test_ids else f"data: {data}"
            raise ConfigError(f"webshop: {where} leaves none of {len(goals)} goals to {side}.")
    return Shop(
        products,
        LuceneIndex(list(map(searched, products)), [product.asin for product in products]),
        split,
        tuple(reasons(left)),
    )


def goals_in_order(products: Sequence[Product], said: Mapping[str, Any]) -> list[Goal]:
    """Return all synthetic goals, one per combination of options, in AgentGym's order."""
    rng = random.Random(SEED)
    goals = []
    for product in products:
        wish = said.get(product.asin)
        wish = wish if isinstance(wish, dict) else {}
        instruction, wanted = wish.get("instruction"), wish.get("instruction_attributes")
        if not isinstance(instruction, str) or not isinstance(wanted, list) or not wanted:
            continue
        attributes = tuple(map(str, wanted))
        limit, bound = NO_LIMIT, ""
        if len(above := [step for step in PRICE_STEPS if step > product.price][:4]) >= 2:
            limit = max(rng.sample(above, 2))
            bound = f", and price lower than {limit:.2f} dollars"
        groups = tuple(sorted(product.options))
        for options in itertools.product(*(product.options[group] for group in groups)):
            pairs = ", and ".join(f"{g}: {o}" for g, o in zip(groups, options, strict=True))
            text = f"{instruction}{f' with {pairs}' if pairs else ''}{bound}"
            goals.append(Goal(text, product, attributes, options, limit, groups))
    random.Random(SEED).shuffle(goals)
    return goals


def read_product(asin: str, record: Mapping[str, Any], said: Any) -> Product:
    """Return a product of the catalogue with its texts as they are written, and no reviews."""
    attributes = said.get("attributes") if isinstance(said, dict) else None
    features = record.get("small_description")
    prices = prices_of(record.get("pricing"))
    return Product(
        asin,
        title=text_of(record.get("name")),
        category=text_of(record.get("category")),
        query=text_of(record.get("query")).lower().strip(),
        path=tuple(part.strip() for part in text_of(record.get("product_category")).split("›")),
        description=text_of(record.get("full_description")),
        features=tuple(map(text_of, features if isinstance(features, list) else [features])),
        reviews=(),
        rating="N.A.",
        attributes=tuple(map(str, attributes)) if isinstance(attributes, list) else (),
        options=options_of(record.get("customization_options")),
        # Of a range AgentGym draws one each time its server starts.
        price=random.Random(f"price of {asin}").uniform(*prices) if len(prices) > 1 else prices[0],
        price_text=" to ".join(f"${price}" for price in prices),
    )


def prices_of(value: Any) -> list[float]:
    """Return the first two prices: what follows each dollar sign. AgentGym cannot read others."""
    parts = value.split("$")[1:] if isinstance(value, str) else []
    try:
        prices = [float(re.sub(r"[^\d.]", "", part)) for part in parts]
    except ValueError:
        prices = []
    return prices[:2] or list(dict.fromkeys(price_range(value)))


def options_of(value: Any) -> dict[str, tuple[str, ...]]:
    """Return the choices by group, in lower case, with repeated ones and empty groups."""
    groups: dict[str, tuple[str, ...]] = {}
    for name, contents in value.items() if isinstance(value, dict) else ():
        if isinstance(contents, list):
            texts = (item.get("value") if isinstance(item, dict) else item for item in contents)
            groups[name.lower()] = tuple(
                text_of(text).strip().replace("/", " | ").lower() for text in texts
            )
    return groups


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else plain_text(value)


def searched(product: Product) -> str:
    """Return the text of a product that the search looks at."""
    options = ", and ".join(
        f"{name}: {', '.join(values)}" for name, values in product.options.items()
    )
    feature = product.features[0] if product.features else ""
    return " ".join((product.title, product.description, feature, options)).lower()
