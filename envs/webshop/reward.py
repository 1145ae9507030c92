"""WebShop's reward (arXiv:2207.01206, section 3.1): how well a purchase fits the instruction."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

ALIKE = 85  # token-set ratios above this count as equal
NO_LIMIT = 1_000_000.0  # the price bound of goals that name none
WORD = re.compile(r"[^\W\d_]{2,}")
COLOURS = re.compile(
    r"\b(?:amber|aqua|beige|black|blue|bronze|brown|burgundy|camel|charcoal|chocolate|coffee|copper|coral"
    "|cream|cyan|fuchsia|gold|gray|green|grey|indigo|ivory|khaki|lavender|lilac|lime|magenta"
    "|maroon|mint|mustard|navy|nude|olive|orange|peach|pink|plum|purple|red|rose|ruby|sand|silver"
    r"|tan|taupe|teal|turquoise|violet|white|wine|yellow)\b"
)
"""Names of colours: any shade of one counts as it. Of several in a text the first by the alphabet
does, as in the original."""

NOT_NOUNS = frozenset(
    """
    the an and or nor but for from with without in into on onto of off to by at as per than up down
    over under out is are be it its your you our we my me his her their this that these those all
    any each both no not only more most very so can will may go made one two three oz ml pc pcs who
    which what when where how
    """.split()  # noqa: SIM905 (a literal would take many lines)
)
"""Words of a title that are no nouns: function words, numerals and units."""


@dataclass(frozen=True)
class Product:
    """An item of the catalogue. `options` are the choices by group ("size": ("small", …))."""

    asin: str
    title: str
    category: str
    query: str
    path: tuple[str, ...]
    """Its place in the shop's tree of categories, from the department down."""
    description: str
    features: tuple[str, ...]
    reviews: tuple[str, ...]
    rating: str
    attributes: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    price: float
    """In dollars. Where the shop names a range, one price within it."""
    price_text: str


@dataclass(frozen=True)
class Goal:
    """A goal: a product, with these attributes and options, for at most `limit` dollars."""

    instruction: str
    product: Product
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    limit: float
    groups: tuple[str, ...] = ()
    """Of a synthetic goal: the group of each option, which the original's reward reads with it."""

    def wishes(self) -> list[tuple[str, str]]:
        """Return each option with its group; "" in goals that people wrote."""
        return list(zip(self.options, self.groups or [""] * len(self.options), strict=True))


def reward(goal: Goal, bought: Product, chosen: Collection[str]) -> float:
    """Return the reward, 0 to 1: type x (attributes + options + price met) / (attributes + options
    + 1).

    Args:
        goal: the goal.
        bought: the product that was bought.
        chosen: the options with which it was bought.
    """
    met = sum(has_attribute(bought, attribute) for attribute in goal.attributes)
    met += sum(any(alike_option(one, *wish) for one in chosen) for wish in goal.wishes())
    met += bought.price <= goal.limit
    wishes = len(goal.attributes) + len(goal.options) + 1
    return kind_reward(goal.product, bought) * met / wishes


def alike_option(one: str, other: str, group: str = "") -> bool:
    """Return whether an option counts as the wanted one; shades of a colour do.

    Args:
        one: an option.
        other: the wanted option.
        group: its group, if the goal is synthetic. The original compares with both words then
            ("size large"): "x-large" does not count as "large", which it does in other goals. Only
            what is a colour's name by itself is taken for a colour.
    """
    if not group:
        return _alike(_plain_colour(one), _plain_colour(other))
    colours = [text for text in (group, other) if COLOURS.fullmatch(text)]
    return _alike(_plain_colour(one), min(colours, default=f"{group} {other}"))


def title_nouns(title: str) -> frozenset[str]:
    """Return a substitute for the nouns of a title: its words without function words and numbers.

    The original takes the nouns and proper nouns that spaCy's English model finds. Titles are rows
    of capitalised names, nearly all of which the model calls nouns, "Casual" and "Sexy" too: of 394
    real titles, 93% of the words found here are among those of en_core_web_sm 3.8, and 95% of its
    words are found.
    """
    return frozenset(title_words(title))


def title_words(title: str) -> list[str]:
    """Return the words of a title that count as nouns, repeated ones too."""
    return [word for word in WORD.findall(title.lower()) if word not in NOT_NOUNS]


def kind_reward(wanted: Product, bought: Product) -> float:
    """Return how far the purchase is the kind of thing that was wanted: 0, 0.1, 0.5 or 1."""
    nouns = title_nouns(wanted.title)
    # 0.2 is the original's word for titles without nouns: neither for nor against.
    share = len(nouns & title_nouns(bought.title)) / len(nouns) if nouns else 0.2
    if share == 0:
        return 0.0
    if share < 0.1:
        return 0.1
    related = len(set(wanted.path) & set(bought.path)) >= 2
    return 1.0 if wanted.query == bought.query or related or share > 0.2 else 0.5


def has_attribute(product: Product, attribute: str) -> bool:
    """Return whether a product has a requested attribute, or mentions it somewhere."""
    if any(_alike(attribute, one) for one in product.attributes):
        return True
    texts: Iterable[str] = (product.title, " ".join(product.features), product.description)
    return any(attribute.lower() in text.lower() for text in texts)


@lru_cache(maxsize=1 << 15)
def _alike(one: str, other: str) -> bool:
    # Texts of symbols alone are empty to the ratio, and only like themselves.
    return one == other or token_set_ratio(one, other, processor=default_process) > ALIKE


def _plain_colour(option: str) -> str:
    return min(COLOURS.findall(option), default=option)
