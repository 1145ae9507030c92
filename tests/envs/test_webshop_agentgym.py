"""WebShop with `like: agentgym`: its goals, its pages, its reading of actions, its score."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[webshop]'")
pytest.importorskip("rapidfuzz", reason="needs pip install 'contrail[webshop]'")

from contrail import ConfigError, Task
from contrail.envs.webshop import WebShop, WebShopConfig
from contrail.envs.webshop.agentgym import prices_of
from contrail.envs.webshop.agentgym_score import alike
from contrail.envs.webshop.agentgym_search import rounded_length, stem, terms

SIZES = ["Standard", "x-large", "large"]


def product(number: int, name: str, **more: Any) -> dict[str, Any]:
    record = {"asin": f"B{number}", "name": name, "query": name, "pricing": "$25.00"}
    return {**record, "small_description": [f"soft {name}"], "full_description": "", **more}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    options = {"Size": [{"value": value} for value in SIZES], "Color": [{"value": "Sky/Blue"}]}
    products = [product(number, "lamp") for number in range(12)]
    products.append(product(12, "pillow", customization_options=options))
    both = {"Base": [{"value": "oak"}], "Top": [{"value": "oak"}, {"value": "elm"}]}
    products.append(product(13, "desk", customization_options=both, pricing="$995.00"))
    wish = {"attributes": ["soft"], "instruction_attributes": ["soft"]}
    said = {
        p["asin"]: {**wish, "instruction": f"Find me soft {p['query']}"}
        for p in products
        if p["query"] != "lamp" or p["asin"] == "B0"
    }
    (tmp_path / "items_shuffle.json").write_text(json.dumps(products))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(said))
    return tmp_path


def shop(data: Path, **more: Any) -> WebShop:
    return WebShop(WebShopConfig(data=str(data), like="agentgym", **more))


def everything(environment: WebShop) -> list[Task]:
    tasks = environment.tasks("train") + environment.tasks("test")
    return sorted(tasks, key=lambda task: int(task.id.removeprefix("agentgym-")))


def wanted(environment: WebShop, words: str) -> Task:
    return next(t for t in everything(environment) if words in environment._goal_of(t).instruction)


def test_all_combinations_in_the_order_of_the_shuffle(data: Path) -> None:
    environment = shop(data)
    tasks = everything(environment)
    assert [task.id for task in tasks] == [f"agentgym-{number}" for number in range(6)]
    order = [0, 1, 2, 3, 4, 5]  # lamp, three sizes of pillow, two tops of desk
    random.Random(233).shuffle(order)
    goals = [environment._goal_of(task) for task in tasks]
    asins = ["B0", "B12", "B12", "B12", "B13", "B13"]
    assert [goal.product.asin for goal in goals] == [asins[place] for place in order]
    starts = Counter(goal.instruction.partition(", and price lower than ")[0] for goal in goals)
    assert starts["Find me soft pillow with color: sky | blue, and size: x-large"] == 1
    # Above 990 there is no bound, of 25 the higher of two of the next four steps.
    assert starts["Find me soft desk with base: oak, and top: elm"] == 1
    assert {goal.limit for goal in goals if goal.product.asin == "B13"} == {1_000_000}
    assert {goal.limit for goal in goals if goal.product.asin == "B12"} < {40, 50, 60}
    assert environment.max_turns == 10


def test_the_file_of_test_ids_says_which_are_for_testing(data: Path, tmp_path: Path) -> None:
    ids = tmp_path / "webshop_test.txt"
    ids.write_text(json.dumps([{"item_id": "webshop_4"}, {"item_id": "webshop_2"}]))
    environment = shop(data, test_ids=str(ids))
    assert [task.id for task in environment.tasks("test")] == ["agentgym-2", "agentgym-4"]
    assert len(environment.tasks("train")) == 4
    others = tmp_path / "others.txt"
    others.write_text(json.dumps(["webshop_99"]))
    with pytest.raises(ConfigError, match="leaves none of 6 goals to test"):
        shop(data, test_ids=str(others))
    with pytest.raises(ConfigError, match="human"):
        shop(data, instructions="human")
    with pytest.raises(ConfigError, match="test_ids is for like: agentgym"):
        WebShop(WebShopConfig(data=str(data), test_ids=str(ids)))


def test_pages(data: Path) -> None:
    environment = shop(data)
    task = wanted(environment, "size: large")
    environment.reset(task)
    step = environment.step("search[lamp]")
    assert "Page 1 (Total results: 12) [SEP] Next > [SEP] B0 " in step.observation.text
    second = environment.step("click[next >]").observation
    assert " [SEP] < Prev [SEP] Next > [SEP] " in second.text
    assert "click[Next >]" in second.actions
    assert environment.step("click[Next >]").observation.text.endswith("< Prev [SEP] Next >")
    environment.step("search[pillow]")
    page = environment.step("click[b12]").observation.text
    # No rating, prices as Python writes them, and after a choice the same page.
    assert page.endswith(
        "Back to Search [SEP] < Prev [SEP] size [SEP] standard [SEP] x-large [SEP] large [SEP] "
        "color [SEP] sky | blue [SEP] pillow [SEP] Price: $25.0 [SEP] Rating: N.A. [SEP] "
        "Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    chosen = environment.step("click[large]").observation
    assert chosen.text == page
    assert "click[large]" in chosen.actions


@pytest.mark.parametrize(
    ("action", "does"),
    [
        ("search[lamp] because", True),
        ("search[lamp]\nand more", True),
        ("search[ ]", True),
        ("Search[lamp]", False),
        ("search [lamp]", False),
        ("search[a [b] c]", False),
        ("I search[lamp]", False),
        ("search[]", False),
        ("click[search]", False),
        ("lamp", False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_reading_an_action(data: Path, action: str, does: bool) -> None:
    environment = shop(data)
    start = environment.reset(everything(environment)[0])
    step = environment.step(action)
    assert step.valid is does
    assert (step.observation == start) is not does


def buy(environment: WebShop, task: Task, clicks: list[str]) -> float:
    environment.reset(task)
    for action in [f"search[{clicks[0]}]", *(f"click[{text}]" for text in clicks[1:])]:
        step = environment.step(action)
    assert step.terminated
    return step.reward


def test_score(data: Path) -> None:
    environment = shop(data)
    # Attribute, two options and price; the colour is not chosen. "x-large" is not "size large".
    large = wanted(environment, "size: large")
    assert buy(environment, large, ["pillow", "B12", "large", "Buy Now"]) == 3 / 4
    assert buy(environment, large, ["pillow", "B12", "x-large", "Buy Now"]) == 2 / 4
    # "standard" is read as the colour "tan" that is in it.
    standard = wanted(environment, "size: standard")
    assert buy(environment, standard, ["pillow", "B12", "standard", "Buy Now"]) == 2 / 4
    assert environment.expert(standard) is None
    # A value of two groups can be chosen in the last only; the wish of the first is met by it too.
    elm = wanted(environment, "top: elm")
    assert buy(environment, elm, ["desk", "B13", "oak", "elm", "Buy Now"]) == 3 / 4
    # Another kind of thing.
    assert buy(environment, elm, ["lamp", "B3", "Buy Now"]) == 0


def test_the_expert_earns_all(data: Path) -> None:
    environment = shop(data)
    lamp = wanted(environment, "soft lamp")
    plan = environment.expert(lamp)
    assert plan is not None
    assert buy(environment, lamp, [plan[0][7:-1], *(text[6:-1] for text in plan[1:])]) == 1


@pytest.mark.parametrize(
    ("text", "prices"),
    [
        ("$1,299.00", [1299]),
        ("$78.42$94.90", [78.42, 94.9]),
        ("$10 - $20", [10, 20]),
        ("$20 $10 $5", [20, 10]),
        ("$10.00 ($0.54 / Ounce)", [10, 0.54]),
        ("$1.299,00", [1.299]),
        ("", [100]),
        ("12,99 \u20ac", [12.99]),
        ("$.", [100]),
    ],
)
def test_prices(text: str, prices: list[float]) -> None:
    assert prices_of(text) == prices


def test_words_that_are_alike() -> None:
    assert alike("navy blue", "blue navy")
    assert alike("machine washable", "machine washables")  # difflib: 2 * 16 / 33 = 97%
    assert alike("large", "('size', 'large')")  # all of its words
    assert not alike("x-large", "('size', 'large')")  # "large" in "large x": 2 * 5 / 12 = 83%
    assert not alike("", "")
    assert not alike("\u00e9\u00e8", "x")


def test_terms_are_lucenes() -> None:
    assert terms("The women's T-shirts, 3.5 us technology \u2605") == [
        "women", "t", "shirt", "3.5", "us", "technolog", "\u2605",
    ]  # fmt: skip
    assert [stem(word) for word in ("assembly", "incredibly", "s")] == ["assembl", "incred", "s"]


def test_lengths_are_rounded_to_a_byte() -> None:
    # 24 are exact; what is above them keeps four bits: 17 is 16, 18 stays, 76 is 72.
    assert [rounded_length(n) for n in (0, 24, 39, 41, 42, 100)] == [0, 24, 39, 40, 42, 96]
