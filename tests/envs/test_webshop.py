"""WebShop: the original's pages and reward, on made-up, odd and real products."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from webshop_goals import assert_no_goal_is_sold_on_the_other_side

pytest.importorskip("bm25s", reason="needs pip install 'contrail[webshop]'")
pytest.importorskip("rapidfuzz", reason="needs pip install 'contrail[webshop]'")

from contrail import Environment, Step, Task
from contrail.envs.webshop import catalogue as webshop_catalogue
from contrail.envs.webshop.data import load_shop
from contrail.envs.webshop.environment import WebShop, WebShopConfig
from contrail.envs.webshop.reward import alike_option
from contrail.errors import ConfigError

PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
REAL = Path(__file__).parents[3] / "shared/data/webshop"
ODD = ["", " ", "\n", "search", "search[]", "search[ ]", "click[]", "click[nothing]", "buy it"]
ODD += ["x" * 200_000, f"search[{'x ' * 100_000}]", f"click[{'[' * 100_000}]", "click[木 🛒]"]
ODD += ["search[\ud800]", "search[木]", "click[Search]", "search[a] click[b]", "<|im_end|>"]


def everything(environment: Environment) -> list[Task]:
    return environment.tasks("train") + environment.tasks("test")


def play(environment: WebShop, task: Task) -> list[Step]:
    environment.reset(task)
    return [environment.step(action) for action in environment.expert(task) or ()]


@pytest.fixture(scope="module")
def environment() -> WebShop:
    return WebShop()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with products of every kind of oddity."""
    products: list[Any] = [
        {
            "asin": "A1",
            "name": "Red Shoe",
            "pricing": "$10.99 to $20",
            "customization_options": {"Size": ["S/M", "L", None, 5], "Color": [{"value": "Red"}]},
            "small_description": None,
        },
        {"asin": "A1", "name": "a second of the name"},
        {"asin": "A2"},
        {"asin": None},
        {"asin": "longer than ten"},
        None,
        "no product",
        {"asin": "A3", "name": ["a", ["Blue Hat"]], "customization_options": [], "pricing": None},
        {"asin": "A4", "name": "帽子", "pricing": 19.5, "options": {"Color": "Blue"}},
        {"asin": "A5", "name": "&quot;A&quot; Lamp", "pricing": ["$5", "$7"], "query": 3},
        {"asin": "A6", "name": "Free", "pricing": "$0", "average_rating": float("nan")},
        {"asin": "A7", "pricing": "$" + "9" * 400, "customization_options": {"a": [{}], "b": None}},
        {"asin": "A8", "customization_options": {"s": [{"value": "Buy Now"}, {"value": "[❤]"}]}},
        {"asin": "A9", "options": {letter: [3 * letter] for letter in "abcdefghi"}},
    ]
    said: dict[str, Any] = {
        f"A{number}": {
            "attributes": ["good quality"],
            "instruction": f"Find me good quality thing {number}",
            "instruction_attributes": ["good quality"],
        }
        for number in range(1, 10)
    }
    said |= {"A2": {"attributes": [], "instruction": "Find me whatever"}, "other": None}
    said["A5"] |= {"attributes": None, "instruction_attributes": ["lamp", None, ["x"]]}
    human = {
        "A1": [
            {
                "instruction": "i need a red shoe.",
                "instruction_attributes": ["good quality"],
                "instruction_options": options,
            }
            for options in (["red"], ["not to be had"])
        ],
        "A3": [{"instruction": "i want a hat", "instruction_attributes": "blue"}, None, 4],
        "A4": None,
    }
    (tmp_path / "items_shuffle_1000.json").write_text(json.dumps(products))
    (tmp_path / "items_ins_v2_1000.json.gz").write_bytes(gzip.compress(json.dumps(said).encode()))
    (tmp_path / "items_human_ins.json").write_text(json.dumps(human))
    return tmp_path


def test_catalogue() -> None:
    products, said = webshop_catalogue.generate()
    assert (products, said) == webshop_catalogue.generate()
    assert len(products) == len({product["asin"] for product in products}) == 1000
    departments = webshop_catalogue.DEPARTMENTS
    for department in departments:
        for row in department.attributes:
            assert not any(alike_option(a, b) for a in row for b in row if a != b)
    for start in range(0, 1000, 4):
        model, *others = products[start : start + 4]
        attributes = set(model["small_description"])
        other, option, price = others
        assert len(attributes - set(other["small_description"])) == 1
        assert set(option["small_description"]) == attributes == set(price["small_description"])
        options = model["customization_options"]
        changed = option["customization_options"]
        assert sum(options[name] != changed[name] for name in options) == 1
        assert model["pricing"] == option["pricing"] != price["pricing"]


def test_tasks(environment: WebShop) -> None:
    train, test = environment.tasks("train"), environment.tasks("test")
    assert len(train) > 3000
    assert len(test) > 600
    assert not {t.id.split("/")[0] for t in train} & {t.id.split("/")[0] for t in test}
    seen = [{environment.reset(task).text for task in tasks} for tasks in (train, test)]
    assert not seen[0] & seen[1]
    assert {task.difficulty for task in train} == {2, 3, 4, 5, 6}
    assert {task.difficulty for task in test} == {3, 4, 5, 6}
    with pytest.raises(ConfigError, match="Known: train, test"):
        environment.tasks("dev")


def test_nothing_heavy_is_imported_before_an_instance_is_made() -> None:
    code = (
        "import sys, contrail.envs.webshop.environment; "
        "print({'bm25s', 'rapidfuzz'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "set()", out.stderr


def test_global_random_state_is_left_alone(environment: WebShop) -> None:
    before = random.getstate()
    load_shop.cache_clear()
    play(WebShop(), environment.tasks("train")[0])
    assert random.getstate() == before


def test_instances_share_the_shop(environment: WebShop) -> None:
    assert WebShop()._shop is WebShop()._shop


def test_expert_wins_by_listed_actions_within_the_turns(environment: WebShop) -> None:
    for task in everything(environment)[::5]:
        observation = environment.reset(task)
        actions = environment.expert(task) or []
        assert 4 <= len(actions) <= environment.max_turns
        for action in actions:
            assert action in (observation.actions or ())
            step = environment.step(action)
            assert step.valid
            observation = step.observation
        assert (step.reward, step.terminated, step.success) == (1, True, True)


def test_targets_are_found_by_their_own_text(environment: WebShop) -> None:
    goals = list(environment._shop.goals["test"].values())
    found = [goal.product in environment._shop.search(goal.instruction, 50) for goal in goals]
    assert sum(found) / len(found) > 0.9


def test_pages(environment: WebShop) -> None:
    task = environment.tasks("test")[0]
    goal = environment._goal_of(task)
    head = f"Instruction: [SEP] {goal.instruction} [SEP] "
    start = environment.reset(task)
    assert start.text == f"WebShop [SEP] {head}Search"
    assert all(action.startswith("search[") for action in start.actions or ())

    def say(action: str) -> str:
        step = environment.step(action)
        assert (step.reward, step.terminated, step.truncated) == (0, False, False)
        return step.observation.text

    first = say(f"search[{goal.product.title} {goal.instruction}]")
    page = f"{head}Back to Search [SEP] Page 1 (Total results: 50) [SEP] Next > [SEP] "
    assert first.startswith(page + environment._hits[0].asin)
    assert len(first.removeprefix(page).split(" [SEP] ")) == 30
    for number in range(2, 6):
        assert f"Page {number} (Total" in say("click[next >]")
    assert "Next >" not in environment._buttons()
    assert not environment.step("click[Next >]").valid
    for number in range(4, 0, -1):
        assert f"Page {number} (Total" in say("click[< Prev]")
    assert not environment.step("click[< Prev]").valid

    item = say(f"click[{goal.product.asin.lower()}]")
    groups = [text for name, its in goal.product.options.items() for text in (name, *its)]
    assert item == head + " [SEP] ".join(
        [
            *("Back to Search", "< Prev", *groups, goal.product.title),
            *(f"Price: {goal.product.price_text}", f"Rating: {goal.product.rating}"),
            *("Description", "Features", "Reviews", "Buy Now"),
        ]
    )
    value = goal.options[0]
    assert say(f"click[{value.upper()}]") == f"You have clicked {value}. [SEP] {item}"
    assert f"click[{value}]" not in environment._actions()
    for part in ("Description", "Features", "Reviews"):
        assert say(f"click[{part}]").startswith(f"{head}Back to Search [SEP] < Prev")
        assert environment._buttons() == ["Back to Search", "< Prev"]
        assert say("click[< Prev]").startswith(f"You have clicked {value}.")
    assert say("click[< Prev]") == first
    # Another visit begins without options, as in the original.
    assert say(f"click[{goal.product.asin}]") == item
    assert say("click[Back to Search]") == start.text
    assert "Total results: 0" in say("search[zzzz]")
    assert environment._buttons() == ["Back to Search"]


def test_wrong_purchases(environment: WebShop) -> None:
    for task in environment.tasks("test")[::40]:
        goal = environment._goal_of(task)
        wishes = len(goal.attributes) + len(goal.options) + 1
        *before, _ = environment.expert(task) or []
        picks = [action for action in before if action[6:-1] in goal.options]
        for bypassed in picks:
            environment.reset(task)
            for action in before:
                if action != bypassed:
                    environment.step(action)
            step = environment.step("click[Buy Now]")
            assert (step.reward, step.terminated, step.success) == (
                pytest.approx(1 - 1 / wishes),
                True,
                False,
            )
        again = environment.step("click[Buy Now]")
        assert (again.valid, again.terminated, again.reward) == (False, True, 0)


def test_odd_actions_neither_raise_nor_change_anything(environment: WebShop) -> None:
    task = environment.tasks("test")[1]
    for before in (0, 1, 2):
        for action in ODD:
            environment.reset(task)
            for good in (environment.expert(task) or [])[:before]:
                environment.step(good)
            buttons = environment._buttons()
            step = environment.step(action)
            assert not step.terminated
            assert len(step.observation.text) < 5000
            if not step.valid:
                assert environment._buttons() == buttons
    assert environment.step("<|im_end|>").observation.text.startswith("Nothing happened.")


def test_reset_after_an_abandoned_episode(environment: WebShop) -> None:
    one, other = environment.tasks("test")[:2]
    fresh = environment.reset(other)
    environment.reset(one)
    for action in (environment.expert(one) or [])[:3]:
        environment.step(action)
    assert environment.reset(other) == fresh
    assert play(environment, other)[-1].success
    with pytest.raises(ValueError, match="no task"):
        environment.reset(replace(one, id="none/0"))


def test_step_before_reset() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        WebShop().step("search[a]")


def test_odd_products(data: Path) -> None:
    synthetic = WebShop(WebShopConfig(data=str(data), instructions="synthetic"))
    products = {product.asin: product for product in synthetic._shop.products}
    assert sorted(products) == [f"A{number}" for number in range(1, 10)]
    assert products["A1"].options == {"size": ("s | m", "l", "5"), "color": ("red",)}
    assert 10.99 <= products["A1"].price <= 20
    assert products["A1"].price_text == "$10.99 to $20.0"
    assert [products[asin].price for asin in ("A3", "A4", "A6")] == [100, 19.5, 100]
    assert products["A3"].title == "a Blue Hat"
    assert products["A5"].title == '"A" Lamp'
    assert products["A6"].rating == "N.A."
    assert products["A8"].options == {"s": ("[❤]",)}
    for task in everything(synthetic):
        assert play(synthetic, task)[-1].reward == 1, task
    won = {task.id.split("/")[0] for task in everything(synthetic)}
    # A5 asks for what it has not, A9 for more options than there are turns.
    assert won == {f"A{number}" for number in (1, 2, 3, 4, 6, 7, 8)}

    human = WebShop(WebShopConfig(data=str(data)))
    goals = {**human._shop.goals["train"], **human._shop.goals["test"]}
    assert {task: goal.options for task, goal in goals.items()} == {"A1/0": ("red",), "A3/0": ()}
    assert goals["A1/0"].instruction.startswith("i need a red shoe, and price lower than")


def test_a_file_of_products_is_data_too(data: Path) -> None:
    two = [{"asin": "A1", "name": "Red Shoe"}, {"asin": "A3", "name": "Blue Hat"}]
    (data / "ITEMS_SHUFFLE.JSON").write_text(json.dumps(two * 900))
    assert len(WebShop(WebShopConfig(data=str(data)))._shop.products) == 9
    named = WebShopConfig(data=str(data / "ITEMS_SHUFFLE.JSON"), instructions="synthetic")
    assert len(WebShop(named)._shop.products) == 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("items_shuffle_1000.json", b"{", "items_shuffle_1000.json cannot be read: it is not JSON"),
        ("items_shuffle_1000.json", b"[1, 2]", "not a list of products. .*princeton-nlp/WebShop"),
        ("items_shuffle_1000.json", b"\xff", "it is not UTF-8"),
        ("items_shuffle_1000.json", None, "no items_shuffle.*princeton-nlp/WebShop"),
        ("items_ins_v2_1000.json.gz", b"\x1f\x8b\x08\x00", "the gzip file is damaged"),
        ("items_ins_v2_1000.json.gz", b"[]", "not a mapping by ASIN"),
        ("items_ins_v2_1000.json.gz", b'{"B": {}}', "no product .* has an instruction"),
        ("items_human_ins.json", None, "instructions is 'human', but"),
    ],
)
def test_bad_data(data: Path, file: str, content: bytes | None, message: str) -> None:
    (data / file).unlink()
    if content is not None:
        (data / file).write_bytes(content)
    which = "human" if file == "items_human_ins.json" else "synthetic"
    with pytest.raises(ConfigError, match=message):
        WebShop(WebShopConfig(data=str(data), instructions=which))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "/no/such/place"}, "there is no /no/such/place"),
        ({"instructions": "humane"}, "Did you mean 'human'"),
        ({"goals_per_product": 0}, "goals_per_product"),
        ({"goals_per_product": True}, "goals_per_product"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WebShop(WebShopConfig(**settings))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/webshop")
def test_real_products() -> None:
    environment = WebShop(WebShopConfig(data=str(REAL)))
    assert len(environment._shop.products) == 394
    goals = {**environment._shop.goals["train"], **environment._shop.goals["test"]}
    # Of the 216 products with an instruction 4 are told by products of the other side.
    assert len({name.split("/")[0] for name in goals}) == 212
    assert_no_goal_is_sold_on_the_other_side(environment, 1)
    ranks = Counter[bool]()
    for task in everything(environment):
        goal = goals[task.id]
        *before, buy = environment.expert(task) or []
        ranks[goal.product in environment._shop.search(goal.instruction, 50)] += 1
        assert play(environment, task)[-1].success, task
        for name, values in goal.product.options.items():
            right = next((value for value in values if f"click[{value}]" in before), None)
            for wrong in values if right else ():
                if wrong != right:
                    environment.reset(task)
                    for action in before:
                        swapped = f"click[{wrong}]" if action == f"click[{right}]" else action
                        environment.step(swapped)
                    step = environment.step(buy)
                    assert step.terminated
                    assert step.reward < 1, (task, name, wrong)
    assert ranks[True] / ranks.total() >= 0.9
