"""Products with options of all kinds in webshop."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[webshop]'")
pytest.importorskip("rapidfuzz", reason="needs pip install 'contrail[webshop]'")

from contrail import Environment, Step, Task
from contrail.envs.webshop.data import load_shop
from contrail.envs.webshop.environment import WebShop, WebShopConfig
from contrail.errors import ConfigError


def everything(environment: Environment) -> list[Task]:
    return environment.tasks("train") + environment.tasks("test")


def play(environment: WebShop, task: Task) -> list[Step]:
    environment.reset(task)
    return [environment.step(action) for action in environment.expert(task) or ()]


def shop(path: Path, options: dict[str, list[str]], *wanted: list[str]) -> WebShop:
    """webshop with a dress of these options, and a human instruction for each list of options."""
    asked = [
        {
            "instruction": f"wish {number}",
            "instruction_attributes": ["soft"],
            "instruction_options": its,
        }
        for number, its in enumerate(wanted)
    ]
    products = [
        {"asin": "B1", "name": "Soft Dress", "customization_options": options},
        {"asin": "B2", "name": "Soft Wish"},
    ]
    (path / "items_shuffle.json").write_text(json.dumps(products))
    (path / "items_human_ins.json").write_text(
        json.dumps(
            {
                "B1": asked,
                "B2": [
                    {
                        "instruction": "another",
                        "instruction_attributes": ["wish"],
                        "instruction_options": [],
                    }
                ],
            }
        )
    )
    return WebShop(WebShopConfig(data=str(path)))


SHARED = {"size": ["small", "medium"], "length": ["small", "medium", "tall"]}


def test_a_click_sets_one_group(tmp_path: Path) -> None:
    """Whatever was clicked before, three listed clicks at most lead to each choice of values."""
    environment = shop(tmp_path, SHARED, ["small", "medium"])
    task = next(task for task in everything(environment) if task.id == "B1/0")
    clicks = [f"click[{value}]" for value in ("small", "medium", "tall")]
    choices = {tuple(sorted(pair)) for pair in itertools.product(SHARED["size"], SHARED["length"])}
    for before in itertools.product(clicks, repeat=2):
        reached = set()
        for after in itertools.product(["", *clicks], repeat=3):
            environment.reset(task)
            environment.step("search[soft dress]")
            for action in ("click[B1]", *before, *after):
                if action in environment._actions():
                    environment.step(action)
            reached.add(tuple(sorted(environment._chosen.values())))
        assert choices <= reached, before


def test_every_listed_goal_can_be_bought_by_clicks(tmp_path: Path) -> None:
    options = {**SHARED, "number": ["5", "5.5", "6", "6 wide"], "color": ["red", "dark red"]}
    can = [["small", "medium"], ["medium", "tall"], ["tall", "red"], ["small", "6 wide"]]
    can += [["red", "dark red"]]  # one is as good as both
    cannot = [["5", "6 wide"], ["small", "medium", "tall"]]
    environment = shop(tmp_path, options, *cannot, *can)
    goals = {**environment._shop.goals["train"], **environment._shop.goals["test"]}
    kept = {goal.options for goal in goals.values()}
    assert kept == {(), *map(tuple, can)}
    assert environment.about_data.endswith("left out, as no purchase fulfils them: 2")
    for task in everything(environment):
        observation = environment.reset(task)
        for action in environment.expert(task) or ():
            assert action in (observation.actions or ()), task
            step = environment.step(action)
            observation = step.observation
        assert step.reward == 1, task


def test_a_title_is_listed_only_where_the_instruction_does_not_lead_to_it(tmp_path: Path) -> None:
    environment = shop(tmp_path, SHARED, ["tall"])
    starts = {task.id: environment.reset(task).actions or () for task in everything(environment)}
    assert starts["B1/0"][-1] == "search[Soft Dress]"  # "wish" finds another
    assert starts["B2/0"][-1] == "search[Soft Wish]"
    assert load_shop("", "auto", 5).notes == ("left out, as the other split tells them: 418",)
    generated = WebShop()
    for task in everything(generated)[::50]:
        title = generated._goal_of(task).product.title
        assert f"search[{title}]" not in (generated.reset(task).actions or ())


def test_nothing_to_test_on(tmp_path: Path) -> None:
    """Each of the two is what the other's goal asks for."""
    said = {"instruction": "a soft thing", "instruction_attributes": ["soft"]}
    products = [{"asin": f"C{n}", "name": f"Soft {name}"} for n, name in enumerate("XY")]
    (tmp_path / "items_shuffle.json").write_text(json.dumps(products))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps({"C0": said, "C1": said}))
    with pytest.raises(ConfigError, match=r"no goal to test on.*split tells them: 1\)"):
        WebShop(WebShopConfig(data=str(tmp_path))).tasks("test")


def test_products_of_one_family_are_described_though_they_cannot_be_split(tmp_path: Path) -> None:
    said = {"instruction": "a soft thing", "instruction_attributes": ["soft"]}
    asins = ["C1", "C2", "C3-too-long-for-one"]
    products = [{"asin": asin, "name": "Soft thing"} for asin in asins]
    (tmp_path / "items_shuffle.json").write_text(json.dumps(products))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(dict.fromkeys(asins, said)))
    made = WebShop(WebShopConfig(data=str(tmp_path)))
    assert "1 product left out: ASIN longer than 10 characters" in made.about_data
    with pytest.raises(ConfigError, match="1 product left out: ASIN longer"):
        made.tasks("test")


def test_nothing_to_train_on(tmp_path: Path) -> None:
    said = {"instruction": "a thing", "instruction_attributes": ["thing"]}
    (tmp_path / "items_shuffle.json").write_text(json.dumps([{"asin": "C1", "name": "thing"}]))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps({"C1": said}))
    with pytest.raises(ConfigError, match=rf"{tmp_path} leaves no goal to train on"):
        WebShop(WebShopConfig(data=str(tmp_path))).tasks("train")
    said["instruction_attributes"] = ["beautiful"]
    (tmp_path / "items_ins_v2.json").write_text(json.dumps({"C1": said, "C2": said}))
    with pytest.raises(ConfigError, match="an instruction that can be fulfilled"):
        WebShop(WebShopConfig(data=str(tmp_path) + "/"))
