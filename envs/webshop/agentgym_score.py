"""AgentGym's score of a purchase: WebShop's reward with all its peculiarities."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import SequenceMatcher
from functools import lru_cache

from contrail.envs.webshop.reward import ALIKE, Goal, Product, kind_reward

# The first that is in an option stands for it: "tan" in "standard", "light" in "highlight".
COLOURS = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown
burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac
copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia gold granite
grape graphite grass gray green grey heather indigo ivory ivy khaki lavender lemon leopard light
lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard natural
navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand sapphire
seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet
walnut wheat white wine yellow
""".split()  # noqa: SIM905 (a literal would take many lines)
LATIN = dict.fromkeys(range(128, 256))


def score(goal: Goal, bought: Product, chosen: Collection[str]) -> float:
    """Return the score of a purchase, 0 to 1.

    Args:
        goal: the goal.
        bought: the product that was bought.
        chosen: the options with which it was bought.
    """
    options = [_colour_in(option) for option in chosen]
    wishes = [_colour_of(*wish) for wish in goal.wishes()]
    met = sum(_has(bought, attribute) for attribute in goal.attributes)
    met += sum(any(alike(option, wish) for option in options) for wish in wishes)
    met += bought.price <= goal.limit
    total = len(goal.attributes) + len(goal.options) + 1
    return met / total * kind_reward(goal.product, bought)


def _has(product: Product, attribute: str) -> bool:
    texts = (product.title, " ".join(product.features), product.description)
    return any(alike(one, attribute) for one in product.attributes) or any(
        attribute in text.lower() for text in texts
    )


def _colour_in(option: str) -> str:
    return next((colour for colour in COLOURS if colour in option), option)


def _colour_of(value: str, group: str) -> str:
    """Return a wanted option as it is compared: its group and value, unless one is a colour."""
    return next((colour for colour in COLOURS if colour in (group, value)), str((group, value)))


@lru_cache(maxsize=1 << 15)
def alike(one: str, other: str) -> bool:
    """Return whether the words of two texts are more than 85% alike, as thefuzz 0.19 without
    Levenshtein counts: by difflib, in whole percent, without Latin-1's letters."""
    first, second = (
        set(re.sub(r"\W", " ", text.translate(LATIN)).lower().split()) for text in (one, other)
    )
    if not first or not second:
        return False
    both = " ".join(sorted(first & second))
    texts = [
        f"{both} {' '.join(sorted(rest))}".strip() for rest in (first - second, second - first)
    ]
    return max(_percent(both, texts[0]), _percent(both, texts[1]), _percent(*texts)) > ALIKE


def _percent(one: str, other: str) -> int:
    if one == other:
        return 100
    if not one or not other:
        return 0
    return round(100 * SequenceMatcher(None, one, other).ratio())
