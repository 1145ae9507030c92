"""A catalogue of 1,000 made-up products, in the layout of WebShop's own files.

Each kind of product comes in families of four look-alikes. The first is the model; the second
differs from it in one attribute, the third in one group of options, the fourth in price alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

FAMILIES = 5
SEED = "webshop catalogue"
WORDS = ("Model", "Series", "Edition", "Line")

COLOURS = (
    ("black", "white", "navy", "red", "olive"),
    ("pink", "silver", "teal", "brown", "yellow"),
    ("ivory", "purple", "orange", "green", "charcoal"),
)
SIZES = (("small", "medium"), ("medium", "large"), ("petite", "standard", "plus"))


@dataclass(frozen=True)
class Department:
    """A branch of the shop: its attributes (of each row a product has one), options, and kinds."""

    path: str
    category: str
    attributes: tuple[tuple[str, ...], ...]
    options: dict[str, tuple[tuple[str, ...], ...]]
    prices: tuple[int, int]
    kinds: tuple[str, ...]


DEPARTMENTS = (
    Department(
        "Clothing, Shoes & Jewelry › Clothing",
        "fashion",
        (
            ("long sleeve", "short sleeve", "sleeveless"),
            ("slim fit", "relaxed fit", "regular cut"),
            ("machine wash", "hand wash", "dry clean"),
            ("cotton lining", "wool blend", "polyester spandex", "quick drying"),
        ),
        {"color": COLOURS, "size": SIZES},
        (12, 90),
        ("shirts", "hoodies", "dresses", "jackets", "sweaters", "blouses", "pajamas", "vests"),
    ),
    Department(
        "Clothing, Shoes & Jewelry › Shoes",
        "fashion",
        (
            ("rubber sole", "leather sole", "foam sole"),
            ("arch support", "ankle strap", "steel toe"),
            ("non slip", "water resistant", "moisture wicking"),
            ("lace closure", "zipper closure", "buckle closure"),
        ),
        {"color": COLOURS, "size": (("6", "7", "8"), ("9", "10", "11"), ("36 wide", "narrow 38"))},
        (25, 160),
        ("sneakers", "boots", "sandals", "loafers", "slippers"),
    ),
    Department(
        "Home & Kitchen › Furniture",
        "garden",
        (
            ("solid wood", "steel frame", "bamboo frame", "tempered glass"),
            ("easy assembly", "fully assembled", "folding design"),
            ("storage space", "usb port", "lumbar support"),
            ("mid century", "farmhouse style", "industrial look"),
        ),
        {"color": COLOURS, "style": (("round", "square"), ("left corner", "right corner"))},
        (40, 480),
        ("desks", "bookcases", "nightstands", "armchairs", "benches", "wardrobes", "stools"),
    ),
    Department(
        "Home & Kitchen › Bedding & Textiles",
        "garden",
        (
            ("machine washable", "spot clean", "stain resistant"),
            ("memory foam", "down filling", "microfiber fill", "organic cotton"),
            ("double sided", "blackout fabric", "printed pattern"),
        ),
        {"color": COLOURS, "size": (("twin", "queen"), ("king", "full"), ("crib", "throw"))},
        (15, 140),
        ("pillows", "blankets", "curtains", "quilts", "rugs"),
    ),
    Department(
        "Electronics › Audio & Video",
        "electronics",
        (
            ("noise cancelling", "stereo sound", "surround sound"),
            ("fast charging", "long battery life", "plug and play"),
            ("bluetooth wireless", "wired connection", "optical input"),
            ("water proof", "carrying case", "wall mountable"),
        ),
        {"color": COLOURS, "style": (("basic", "pro"), ("travel bundle", "studio kit"))},
        (18, 320),
        ("headphones", "speakers", "soundbars", "microphones", "radios", "projectors"),
    ),
    Department(
        "Electronics › Computers & Accessories",
        "electronics",
        (
            ("high speed", "low latency", "energy saving"),
            ("dual band", "gold plated", "heavy duty"),
            ("aluminum alloy", "carbon fiber", "silicone shell"),
        ),
        {"color": COLOURS, "capacity": (("64gb", "128gb"), ("256gb", "512gb"), ("1tb", "2tb"))},
        (9, 260),
        ("keyboards", "routers", "tablets", "drives", "webcams", "monitors"),
    ),
    Department(
        "Beauty & Personal Care › Skin & Hair",
        "beauty",
        (
            ("cruelty free", "paraben free", "fragrance free"),
            ("tea tree", "coconut oil", "hyaluronic acid", "shea butter"),
            ("sensitive skin", "dry scalp", "oily complexion"),
        ),
        {"scent": (("rose", "vanilla", "cedar"), ("citrus", "jasmine"), ("mint", "honey"))},
        (6, 60),
        ("shampoos", "lotions", "serums", "cleansers", "balms", "masks", "sunscreens"),
    ),
    Department(
        "Grocery & Gourmet Food › Pantry",
        "grocery",
        (
            ("gluten free", "dairy free", "nut free"),
            ("low sodium", "zero sugar", "high protein"),
            ("certified organic", "kosher certified", "fair trade"),
        ),
        {
            "flavor": (("sea salt", "barbecue", "chili lime"), ("cinnamon", "maple"), ("cocoa",)),
            "size": (("pack of 2", "box of 12"), ("single bag", "family jar")),
        },
        (4, 45),
        ("crackers", "granolas", "cookies", "chips", "noodles", "teas"),
    ),
)
BRANDS = """
Alderbrook Bexhill Cairnway Dunmore Everly Fenwick Glenrock Harrowgate Ilverton Juniper Kestrel
Larkspur Marwood Northolt Oakhurst Penrose Quillon Ravensby Silverton Thornbury Umberlake Valmont
Westbrook Yarrow Zephyra
""".split()  # noqa: SIM905 (a literal would take 25 lines)


def generate() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the products, and their instructions by ASIN: always the same."""
    rng = random.Random(SEED)
    products: list[dict[str, Any]] = []
    instructions: dict[str, Any] = {}
    for department in DEPARTMENTS:
        for kind in department.kinds:
            for brand in rng.sample(BRANDS, FAMILIES):
                for variant in _family(department, rng):
                    asin = f"G{len(products):09d}"
                    products.append(_record(asin, department, kind, brand, variant, rng))
                    instructions[asin] = _said(kind, variant, rng)
    return products, instructions


@dataclass(frozen=True)
class _Variant:
    attributes: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    cents: int


def _family(department: Department, rng: random.Random) -> list[_Variant]:
    attributes = [rng.choice(row) for row in department.attributes]
    options = {name: rng.choice(sets) for name, sets in department.options.items()}
    low, high = department.prices
    cents = rng.randrange(100 * low, 100 * high) // 10 * 10 + 9
    place = rng.randrange(len(attributes))
    other = rng.choice([one for one in department.attributes[place] if one != attributes[place]])
    changed = [*attributes[:place], other, *attributes[place + 1 :]]
    group = rng.choice(list(options))
    sets = [one for one in department.options[group] if one != options[group]]
    return [
        _Variant(tuple(attributes), options, cents),
        _Variant(tuple(changed), options, cents),
        _Variant(tuple(attributes), {**options, group: rng.choice(sets)}, cents),
        _Variant(tuple(attributes), options, cents + 100 * rng.randint(15, 60)),
    ]


def _record(
    asin: str,
    department: Department,
    kind: str,
    brand: str,
    variant: _Variant,
    rng: random.Random,
) -> dict[str, Any]:
    # Not every attribute is in the title: some are only on the product's own pages.
    first, second, *_ = rng.sample(variant.attributes, len(variant.attributes))
    name = f"{brand} {kind.title()}, {first.title()}, {rng.choice(WORDS)} {rng.randint(10, 99)}"
    features = [f"{attribute.capitalize()}." for attribute in variant.attributes]
    return {
        "asin": asin,
        "name": name,
        "category": department.category,
        "query": kind,
        "product_category": f"{department.path} › {kind.title()}",
        "pricing": f"${variant.cents / 100:.2f}",
        "average_rating": rng.randint(30, 50) / 10,
        "full_description": f"{kind.capitalize()} by {brand} with {second}, made to be used daily.",
        "small_description": features,
        "customization_options": {
            name: [{"value": value} for value in values] for name, values in variant.options.items()
        },
    }


def _said(kind: str, variant: _Variant, rng: random.Random) -> dict[str, Any]:
    number = rng.randint(1, len(variant.attributes))
    wanted = rng.sample(variant.attributes, number)
    before, after = wanted[: (number + 1) // 2], wanted[(number + 1) // 2 :]
    instruction = f"Find me {', '.join(before)} {kind}"
    if after:
        instruction += f" with {', '.join(after)}"
    return {
        "attributes": list(variant.attributes),
        "instruction": instruction,
        "instruction_attributes": wanted,
    }
