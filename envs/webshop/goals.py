"""WebShop's goals: the wishes of people or rules, and the searches and options that fulfil them."""

from __future__ import annotations

import math
import random
import re
from typing import Any

from contrail.envs.shared.data_files import plain_text, plain_texts
from contrail.envs.webshop.reward import NO_LIMIT, Goal, Product, alike_option

PRICE_STEPS = [10.0 * step for step in range(1, 100)]
MOST_OPTIONS = 7  # in ten turns, three of which are the search, the product and Buy Now
PRICE_CLAUSE = re.compile(r",? (?:and )?price (?:lower|less) than .*$")
OPTIONS_CLAUSE = re.compile(r",? with (?:(?! with )[^,:])+: .*$")
OPENING = re.compile(
    r"^(?:find me|i(?:'m| am)? (?:looking for|need|want|would like)|please find)\s+(?:an? |the )?",
    re.IGNORECASE,
)
JOINING = re.compile(r"\b(?:(?:a|an|and|for|in|of|that|the|to|with|is|are)(?= )|\w+:)|,")


def _limit(product: Product, name: str) -> tuple[float, str]:
    """Return a price bound: the higher of two of the next four steps of ten dollars, and its
    words."""
    above = [step for step in PRICE_STEPS if step > product.price][:4]
    if len(above) < 2:
        return NO_LIMIT, ""
    limit = max(random.Random(f"limit of {name}").sample(above, 2))
    return limit, f", and price lower than {limit:.2f} dollars"


def synthetic_goals(product: Product, said: Any, most: int) -> list[Goal]:
    """Return a limited number of goals, one per drawn combination of options.

    Options are left out if the reward cannot distinguish them from another of the same product
    ("navy blue" and "sky blue"): the wrong choice would be as good.
    """
    if not isinstance(said, dict) or not (instruction := plain_text(said.get("instruction"))):
        return []
    offered = [value for values in product.options.values() for value in values]
    clear = {
        name: [value for value in values if sum(alike_option(o, value, name) for o in offered) == 1]
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
        wanted = plain_texts(said.get("instruction_attributes"))
        goals.append(Goal(text, product, wanted, tuple(picked), limit, tuple(names)))
    return goals


def human_goals(product: Product, said: Any) -> list[Goal]:
    goals = []
    for number, item in enumerate(said if isinstance(said, list) else [said]):
        wanted = plain_texts(item.get("instruction_attributes")) if isinstance(item, dict) else ()
        instruction = plain_text(item.get("instruction")).strip(".") if wanted else ""
        if instruction:
            options = item.get("instruction_options")
            options = list(options.values()) if isinstance(options, dict) else options
            chosen = tuple(text.lower() for text in plain_texts(options))
            limit, in_words = _limit(product, f"{product.asin} {number}")
            goals.append(Goal(instruction + in_words, product, wanted, chosen, limit))
    return goals


def best_options(goal: Goal, product: Product | None = None) -> list[str]:
    """Return the options to click that fulfil the most of the goal's; one of each group.

    Args:
        goal: the goal.
        product: the product to buy; by default the goal's own product.
    """
    plans: dict[frozenset[tuple[str, str]], tuple[str, ...]] = {
        frozenset(): ()
    }  # by what they fulfil

    def merit(plan: tuple[str, ...]) -> tuple[int, int]:
        return sum(value in goal.options for value in plan), -len(plan)

    for values in (product or goal.product).options.values():
        for met, plan in list(plans.items()):
            for value in values:
                if fits := {wish for wish in goal.wishes() if alike_option(value, *wish)}:
                    more, longer = met | fits, (*plan, value)
                    plans[more] = max(plans.get(more, longer), longer, key=merit)
    return list(max(plans.items(), key=lambda item: (len(item[0]), merit(item[1])))[1])


def queries(instruction: str) -> list[str]:
    """Return possible searches for it: the instruction, and shorter and shorter parts of it."""
    things = OPENING.sub("", PRICE_CLAUSE.sub("", instruction))
    thing = OPTIONS_CLAUSE.sub("", things)
    words = [" ".join(JOINING.sub(" ", f"{text} ").split()) for text in (things, thing)]
    return [text for text in dict.fromkeys((things, thing, *words)) if text]
