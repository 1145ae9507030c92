"""No test goal is fulfilled by a training product, and look-alikes stand on one side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from webshop_goals import assert_no_goal_is_sold_on_the_other_side

import contrail

pytest.importorskip("bm25s", reason="needs pip install 'contrail[webshop]'")
pytest.importorskip("rapidfuzz", reason="needs pip install 'contrail[webshop]'")

from contrail.envs.webshop.environment import WebShop, WebShopConfig
from contrail.envs.webshop.reward import Product
from contrail.envs.webshop.split import product_families


def everything(environment: contrail.Environment) -> list[contrail.Task]:
    return [task for split in ("train", "test") for task in environment.tasks(split)]


@pytest.fixture(scope="module")
def environment() -> WebShop:
    return WebShop()


def test_no_goal_is_fulfilled_by_a_product_of_the_other_side(environment: WebShop) -> None:
    assert_no_goal_is_sold_on_the_other_side(environment, 23)
    assert "the other split tells" in environment.about_data


def test_look_alikes_stand_on_one_side(environment: WebShop) -> None:
    side = {
        (goal.product.query, goal.product.title.partition(",")[0]): split
        for split, goals in environment._shop.goals.items()
        for goal in goals.values()
    }
    kinds = [{kind for (kind, _), split in side.items() if split == s} for s in ("train", "test")]
    assert not kinds[0] & kinds[1]
    assert len(kinds[1]) >= 8


def test_other_goals_of_one_catalogue_are_split_alike(tmp_path: Path) -> None:
    """Whichever products have goals, and how many each."""
    names = ["Lamp", "Rug", "Desk", "Mug", "Hat", "Sock", "Pan", "Bed", "Fork", "Vase"]
    products = [
        {"asin": f"P{n}{m}", "name": f"{name} {m}", "query": name, "pricing": "$9"}
        for n, name in enumerate(names)
        for m in range(3)
    ]
    wish = {
        item["asin"]: {
            "instruction": f"buy {item['asin']}",
            "instruction_attributes": [item["query"]],
        }
        for item in products
    }
    (tmp_path / "items_shuffle.json").write_text(json.dumps(products))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(wish))
    people = {asin: [said] for asin, said in wish.items() if asin[-1] == "2"}
    (tmp_path / "items_human_ins.json").write_text(json.dumps(people))
    sides = [
        {
            task.id.split("/")[0]: task.split
            for task in everything(WebShop(WebShopConfig(str(tmp_path), instructions)))
        }
        for instructions in ("synthetic", "human")
    ]
    assert len(sides[1]) == 10
    assert sides[1].items() <= sides[0].items()
    assert set(sides[1].values()) == {"train", "test"}


def test_what_look_alikes_are() -> None:
    def product(asin: str, title: str, query: str = "", size: tuple[str, ...] = ()) -> Product:
        options = {"size": size}
        return Product(asin, title, "", query, (), "", (), (), "", ("soft",), options, 9, "$9")

    products = [
        product("A", "Acme Soft Desk Lamp, Red, 20 inch"),
        product("B", "Acme Desk Lamp - Navy Blue (tall)", size=("tall", "short")),
        product("C", "Acme Floor Lamp"),
        product("D", "Lamp"),
        product("E", "Red Lamp"),
        product("F", "Bolt Sock", "socks"),
        product("G", "Zed", "socks"),
    ]
    families = {frozenset(family) for family in product_families(products)}
    assert families == {frozenset("AB"), frozenset("C"), frozenset("D"), frozenset("E"),
                        frozenset("FG")}  # fmt: skip
