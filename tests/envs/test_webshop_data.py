"""WebShop's data: prices, odd ids, options of synthetic goals, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contrail import ConfigError

pytest.importorskip("bm25s")
pytest.importorskip("rapidfuzz")

from contrail.envs.webshop import WebShop, WebShopConfig
from contrail.envs.webshop.prices import price_range
from contrail.envs.webshop.reward import alike_option

PRICES: list[tuple[Any, tuple[float, float]]] = [
    ("$1,299.00", (1299, 1299)),
    ("$10 - $20", (10, 20)),
    ("$10.99 to $20", (10.99, 20)),
    ("$10-20", (10, 20)),
    ("$78.42$94.90", (78.42, 94.9)),
    ("from $9.99", (9.99, 9.99)),
    ("USD 12", (12, 12)),
    ("12.50 USD", (12.5, 12.5)),
    ("US$ 5.50", (5.5, 5.5)),
    ("1.299,00 \u20ac", (1299, 1299)),
    ("12,99 \u20ac", (12.99, 12.99)),
    ("2 for $10", (10, 10)),
    ("$12.99 ($0.54 / Ounce)", (12.99, 12.99)),
    ("$15.", (15, 15)),
    (12, (12, 12)),
    (12.5, (12.5, 12.5)),
    (["$20", "$10"], (10, 20)),
    ({"min": 3, "max": "$5"}, (3, 5)),
    *((nothing, (100, 100)) for nothing in ("", "Free", None, [], True, float("nan"), "$")),
]


@pytest.mark.parametrize(("value", "right"), PRICES, ids=lambda value: repr(value))
def test_prices(value: Any, right: tuple[float, float]) -> None:
    assert price_range(value) == right


@pytest.mark.parametrize(
    ("group", "wanted", "clicked", "synthetic", "human"),
    [
        ("size", "large", "x-large", False, True),
        ("size", "small", "x-small", False, True),
        ("size", "large", "large", True, True),
        ("color", "navy blue", "sky blue", True, True),
        ("color", "red", "dark red", True, True),
    ],
)
def test_options(group: str, wanted: str, clicked: str, synthetic: bool, human: bool) -> None:
    assert alike_option(clicked, wanted, group) is synthetic
    assert alike_option(clicked, wanted) is human


def shop(tmp_path: Path, asins: list[Any], **more: Any) -> WebShop:
    kinds = ["soap", "lamp", "desk", "vase", "harp", "kite"]
    products: list[Any] = []
    said = {}
    for number, asin in enumerate(asins):
        kind = kinds[number % len(kinds)]
        product = {"asin": asin, "name": f"{kind} {kind}ish", "query": kind, "pricing": "$5.00"}
        products.append({**product, "small_description": [f"mild {kind}"], **more})
        wish = {"instruction": f"Find me mild {kind}", "instruction_attributes": [f"mild {kind}"]}
        said[str(asin)] = {**wish, "attributes": [f"mild {kind}"]}
    (tmp_path / "items_shuffle.json").write_text(json.dumps([*products, None]))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(said))
    return WebShop(WebShopConfig(data=str(tmp_path)))


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    environment = shop(tmp_path, ["B1", "B2", 3, 4.0, "LONG_ASIN_B1", "LONG_ASIN_B2", "B1", None])
    assert len(environment._shop.products) == 4
    assert environment.notes[:4] == (
        "2 products left out: ASIN longer than 10 characters",
        "1 product left out: ASIN that an earlier one has",
        "1 product left out: no ASIN",
        "1 product left out: not an object",
    )
    assert environment.about_data.endswith("; ".join(environment.notes))


def test_products_that_are_all_left_out_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 products left out: ASIN longer than 10 characters"):
        shop(tmp_path, ["LONG_ASIN_B1", "LONG_ASIN_B2"])


def test_half_a_surrogate_pair_does_no_harm(tmp_path: Path) -> None:
    environment = shop(tmp_path, [f"B{n}\ud83d" for n in range(4)], full_description="\udc00\x00")
    for task in environment.tasks("train"):
        task.id.encode()
        environment.reset(task).text.encode()
        for action in environment.expert(task) or ():
            environment.step(action).observation.text.encode()


@pytest.mark.parametrize(
    "title", ["\u9732", "1984", "The Who", "", "[2 Pack] \u00c9t\u00e9 ]", "x" * 3000]
)
def test_any_title_can_be_bought(title: str, tmp_path: Path) -> None:
    environment = shop(tmp_path, [f"B{n}" for n in range(6)], name=title)
    for task in (*environment.tasks("train"), *environment.tasks("test")):
        plan = environment.expert(task)
        assert plan
        environment.reset(task)
        for action in plan:
            step = environment.step(action)
        assert step.terminated
