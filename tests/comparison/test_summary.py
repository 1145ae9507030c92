"""What the runs of a comparison say together, against numbers worked by hand; and its reports."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from compared import row

from contrail.comparison.gather import Row, check_comparable, read_rows
from contrail.comparison.summary import CONTINUAL_WORLD, summarise
from contrail.errors import ConfigError
from contrail.metrics.transfer import METRICS, TaskScores
from contrail.plugins.reports import comparison, comparison_figures, comparison_tables
from contrail.reporting import reporting

AB, BA = ("babyai", "textcraft"), ("textcraft", "babyai")
T_2 = 4.302652729911275  # the 97.5% point of Student's t with 2 degrees of freedom


def R(kept: float, learnt: float = 0.5) -> list[list[float | None]]:
    """babyai rises to 0.9 and falls to `kept`; textcraft ends at `learnt`; webshop stays."""
    return [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2], [kept, learnt, 0.2]]


def summed(rows: list[Row], *, orders: Any = (AB,), baseline: str = "sequential") -> dict[str, Any]:
    labels = list(dict.fromkeys(item.strategy for item in rows))
    seeds = sorted({item.seed for item in rows})
    found = summarise("name", rows, labels, orders, seeds, baseline)
    return found | {"failed": {}, "shared": None}


def of(found: dict[str, Any], label: str, metric: str = "forgetting") -> dict[str, Any]:
    value: dict[str, Any] = found["summary"][label]["metrics"][metric]
    return value


def test_means_intervals_and_differences_over_seeds() -> None:
    kept = {"sequential": [0.3, 0.4, 0.5], "replay": [0.7, 0.9, 0.8]}
    found = summed(
        [row(name, R(kept[name][seed]), seed=seed) for name in kept for seed in range(3)]
    )
    forgotten = of(found, "sequential")
    assert forgotten["values"] == pytest.approx([0.6, 0.5, 0.4])
    assert forgotten["mean"] == pytest.approx(0.5)
    half = T_2 * 0.1 / math.sqrt(3)
    assert forgotten["interval"] == pytest.approx([0.5 - half, 0.5 + half])
    assert forgotten["difference"] is None  # the baseline's own
    difference = of(found, "replay")["difference"]  # -0.4, -0.5, -0.3, paired
    assert difference["mean"] == pytest.approx(-0.4)
    assert difference["interval"] == pytest.approx([-0.4 - half, -0.4 + half])
    babyai = found["summary"]["replay"]["success"]["babyai"]
    assert babyai["mean"] == pytest.approx(0.8)
    assert babyai["difference"]["mean"] == pytest.approx(0.4)
    matrix = found["summary"]["sequential"]["R"][0]
    assert matrix["R"][2] == pytest.approx([0.4, 0.5, 0.2])
    assert matrix["interval"][2][0] == pytest.approx([0.4 - half, 0.4 + half])
    assert found["summary"]["replay"]["budget"]["cpu_seconds"] == 61
    json.dumps(found, allow_nan=False)


def test_a_seed_is_the_mean_over_orders() -> None:
    other = [[0.4, 0.3, 0.2], [0.4, 0.7, 0.2], [0.8, 0.6, 0.2]]  # textcraft first: it loses 0.1
    rows = [
        row("sequential", R(0.3), seed=0, order=AB),
        row("sequential", other, seed=0, order=BA),
        row("sequential", R(0.5), seed=1, order=AB),
        row("sequential", other, seed=1, order=BA),
        row("sequential", R(0.9), seed=2, order=AB),  # an order is missing: it does not count
    ]
    found = summed(rows, orders=(AB, BA))
    forgotten = of(found, "sequential")
    assert forgotten["values"] == pytest.approx([(0.6 + 0.1) / 2, (0.4 + 0.1) / 2])
    assert forgotten["seeds"] == 2
    assert forgotten["orders"] == pytest.approx([(0.6 + 0.4 + 0.0) / 3, 0.1])
    assert any("Runs are missing" in line for line in comparison.notes(found))


def test_intervals_over_tasks_and_seeds_are_wider() -> None:
    found = summed([row("sequential", R(0.3 + 0.01 * seed), seed=seed) for seed in range(5)])
    value = of(found, "sequential", "average_score")
    (low, high), (least, most) = value["interval"], value["interval_tasks"]
    assert least < low < value["mean"] < high < most


def test_a_strategy_without_a_run_is_undefined() -> None:
    """All of its runs may have failed."""
    rows = [row("sequential", R(0.3 + 0.1 * seed), seed=seed) for seed in (0, 1)]
    found = summarise("x", rows, ["sequential", "replay"], [AB], [0, 1], "replay")
    assert of(found, "sequential")["mean"] == pytest.approx(0.55)
    assert of(found, "replay")["mean"] is None
    assert found["summary"]["replay"]["success"]["babyai"]["mean"] is None


def test_a_reference_that_lacks_an_order_is_none() -> None:
    curve = {"babyai": [0.0, 0.5], "textcraft": [0.0, 0.5]}
    curves = [{name: curve[name]} for name in AB]
    rows = [
        curved(
            row(name, R(0.3), order=order, seed=seed), *(curves if order == AB else curves[::-1])
        )
        for seed in (0, 1)
        for name, orders in (("sequential", (AB, BA)), ("isolated", (AB,)))
        for order in orders
    ]
    found = summed(rows, orders=(AB, BA))
    assert of(found, "sequential", CONTINUAL_WORLD)["mean"] is None


def test_labels_of_one_environment_have_their_tasks_in_common() -> None:
    run = row("sequential", R(0.3))
    for evaluation in run.result["evaluations"]:
        for name in evaluation:
            scores = {str(k): float(k % 2) for k in range(32)}
            evaluation[name] = {"scores": scores, "tasks": 32}
    low, high = METRICS["average_score"](TaskScores.read(run.result)).interval or [0, 0]
    assert high - low == pytest.approx(2 * 0.169, abs=0.01)  # that of one label


def test_pairs_of_strategies() -> None:
    kept = {"sequential": 0.3, "replay": 0.8, "kl": 0.3}
    noise = [0.0, 0.03, -0.02, 0.01, 0.02, -0.01]
    found = summed(
        [
            row(name, R(value + noise[(seed * (k + 1)) % 6]), seed=seed)
            for k, (name, value) in enumerate(kept.items())
            for seed in range(6)
        ]
    )
    pairs = {(p["first"], p["second"]): p["metrics"]["average_score"] for p in found["pairs"]}
    assert list(pairs) == [("sequential", "replay"), ("sequential", "kl"), ("replay", "kl")]
    clear = pairs["sequential", "replay"]
    assert clear["mean"] == pytest.approx(-0.5 / 3, abs=0.02)
    assert clear["p"] == pytest.approx(2 / 64)
    assert clear["seeds_needed"] == 3
    assert pairs["sequential", "kl"]["p"] > 0.2
    assert not any("too few" in line for line in comparison.notes(found))
    few = summed([row(name, R(0.3), seed=seed) for name in ("a", "b") for seed in range(3)])
    assert any("3 seeds are too few" in line for line in comparison.notes(few))


def test_strategies_that_do_the_same_differ_by_0_with_an_interval() -> None:
    rows = [row(name, R(0.3), seed=seed) for name in ("sequential", "kl") for seed in range(4)]
    difference = of(summed(rows), "kl", "average_score")["difference"]
    assert difference["mean"] == 0.0
    assert difference["p"] == 1.0
    assert difference["interval"][0] < 0 < difference["interval"][1]


def test_one_seed_has_no_interval() -> None:
    found = summed([row("sequential", R(0.3)), row("replay", R(0.8))])
    assert of(found, "replay")["interval"] is None
    assert of(found, "replay")["difference"]["interval"] is None
    assert of(found, "replay")["difference"]["mean"] == pytest.approx(-0.5)
    assert comparison.notes(found)[0] == "One seed: an interval over seeds needs two."


def test_what_is_undefined_says_why() -> None:
    mixed = [[0.4, 0.3, 0.2], [0.8, 0.6, 0.2]]
    found = summed(
        [
            row("sequential", R(0.3)),
            row("mixture", mixed, [["babyai", "textcraft"]]),
            row("isolated", R(0.1, 0.6)),
        ]
    )
    assert of(found, "mixture")["mean"] is None
    assert of(found, "mixture")["difference"]["mean"] is None
    assert "two environments" in found["undefined"]["forgetting"]["mixture"]
    assert "sequential" not in found["undefined"]["forgetting"]
    assert "transfer matrix" in found["undefined"]["average_score"]["isolated"]
    # Of `isolated`, the success of an environment is that after its own stage.
    success = found["summary"]["isolated"]["success"]
    assert [success[name]["mean"] for name in ("babyai", "textcraft")] == pytest.approx([0.9, 0.6])
    assert success["webshop"]["mean"] is None
    [own] = [row for row in found["rows"] if row["strategy"] == "isolated"]
    assert set(own["metrics"].values()) == {None}
    assert own["success"] == pytest.approx({"babyai": 0.9, "textcraft": 0.6, "webshop": None})


def test_one_environment_loses_nothing_but_what_needs_two() -> None:
    one = ("babyai",)
    rows = [row(name, [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2]], order=one) for name in ("a", "b")]
    found = summed(rows, orders=(one,), baseline="a")
    assert of(found, "b", "average_score")["mean"] == pytest.approx(1.4 / 3)
    for metric in ("forgetting", "backward_transfer", "forward_transfer"):
        assert of(found, "b", metric)["mean"] is None
        assert found["undefined"][metric]["b"].startswith("needs two environments")
    assert any("forgetting: needs two environments" in line for line in comparison.notes(found))


def test_a_faulty_cell_is_undefined() -> None:
    broken = R(0.3)
    broken[2][0] = None
    found = summed([row("sequential", R(0.3), seed=0), row("sequential", broken, seed=1)])
    assert of(found, "sequential")["mean"] is None
    assert of(found, "sequential", "forward_transfer")["mean"] == pytest.approx(0.0)


def curved(run: Row, *curves: dict[str, list[float]]) -> Row:
    """The run with a learning curve for each stage."""
    points = [
        {name: [list(point) for point in enumerate(values)] for name, values in stage.items()}
        for stage in curves
    ]
    return dataclasses.replace(run, result={**run.result, "curves": points})


def test_continual_worlds_forward_transfer() -> None:
    """(AUC - AUC_ref) / (1 - AUC_ref): babyai is learnt alike, textcraft in half the time."""
    babyai = {"babyai": [0.0, 0.5, 1.0]}
    own = curved(row("sequential", R(0.3)), babyai, {"textcraft": [0.5, 1.0, 1.0]})  # 7/8
    alone = curved(row("isolated", R(0.1)), babyai, {"textcraft": [0.0, 0.5, 1.0]})  # 1/2
    other = curved(changed(alone, grpo={}), babyai, {"textcraft": [0.0] * 3})  # no reference
    mixture = row("mixture", R(0.5)[:2], [["babyai", "textcraft"]])
    found = summed([own, alone, other, mixture])
    assert of(found, "sequential", CONTINUAL_WORLD)["mean"] == pytest.approx((0 + 3 / 4) / 2)
    assert of(found, "mixture", CONTINUAL_WORLD)["mean"] is None
    assert of(found, "isolated", CONTINUAL_WORLD)["mean"] is None
    later = summed([dataclasses.replace(own, seed=1), alone])  # no reference of this seed
    assert of(later, "sequential", CONTINUAL_WORLD)["mean"] is None
    without = summed([row("sequential", R(0.3)), row("isolated", R(0.1))])
    assert "evaluate.every" in without["undefined"][CONTINUAL_WORLD]["sequential"]


# Which runs may stand beside each other


def changed(run: Row, **changes: Any) -> Row:
    """The run with other values in its configuration; `result` holds those of its result."""
    result = {**run.result, **changes.pop("result", {})}
    return dataclasses.replace(run, config={**run.config, **changes}, result=result)


def test_runs_may_differ_in_strategy_order_and_seed() -> None:
    other = changed(row("replay", R(0.3), seed=3, order=BA), threads=4, plugins=["mine.py"])
    check_comparable([row("sequential", R(0.3)), other])
    more = {**other.config["grpo"], "beta": 0.0}  # written since a later version
    check_comparable([row("sequential", R(0.3)), changed(other, grpo=more)])
    for spent in ({"updates": 0, "episodes": 0}, {"episodes": 250}):
        budget = other.result["budget"] | spent
        check_comparable([row("sequential", R(0.3)), changed(other, result={"budget": budget})])


STAGE = row("sequential", R(0.3)).config["stream"][0]
EVALUATIONS = [{name: {"scores": {"other/1": 1.0}} for name in ("babyai", "textcraft", "webshop")}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "smollm2-135m"}, "model is 'tiny-random' and 'smollm2-135m'"),
        ({"evaluate": {"tasks": 8}}, "evaluate.tasks is 4 and 8"),
        ({"evaluate": {"tasks": 4, "decoding": "greedy"}}, "decoding is null and 'greedy'"),
        ({"grpo": {"learning_rate": 0.1}}, "grpo.learning_rate is 0.001 and 0.1"),
        ({"stream": [STAGE]}, "the streams have other stages, babyai > textcraft and babyai"),
        ({"stream": [STAGE, {**STAGE, "name": "textcraft"}]}, "other stages, of other settings"),
        ({"result": {"environments": ["babyai"]}}, "environments evaluated are babyai, textcr"),
        (
            {"result": {"evaluations": EVALUATIONS}},
            r"'babyai' is tested on other tasks \(400 ",
        ),
        ({"result": {"budget": {"updates": 9, "episodes": 256}}}, "they trained 8 and 9 updates"),
    ],
)
def test_runs_that_are_not_comparable(changes: dict[str, Any], message: str) -> None:
    first = row("sequential", R(0.3))
    with pytest.raises(ConfigError, match=f"are not comparable: .*{message}"):
        check_comparable([first, row("kl", R(0.3)), changed(row("replay", R(0.3)), **changes)])


def test_settings_tell_strategies_of_one_name_apart(tmp_path: Path) -> None:
    directories = []
    for number, strategy in enumerate(
        [
            {"name": "kl", "beta": 0.1, "kind": "x"},
            {"name": "kl", "beta": 0.5, "kind": "x"},
            {"name": "sequential"},
            [{"name": "replay", "fraction": 0.5}, {"name": "kl", "beta": 0.1, "kind": "x"}],
        ]
    ):
        run = changed(row("kl", R(0.3)), strategy=strategy)
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "config.yaml").write_text(json.dumps(run.config))
        (directory / "result.json").write_text(json.dumps(run.result))
        directories.append(directory)
    labels = [run.strategy for run in read_rows(directories)]
    assert labels == ["kl beta=0.1", "kl beta=0.5", "sequential", "replay + kl"]


# The reports


def many(strategies: int, seeds: int, orders: Any, environments: int = 3) -> dict[str, Any]:
    """A comparison of any size, with names that are hard to show."""
    names = ["sequential", "replay fraction=0.25", "ewc_with_a_very_long_name + kl", "100% & {x}"]
    rows = [
        row(names[k], R(0.2 + 0.1 * k + 0.03 * seed), seed=seed, order=order)
        for k in range(strategies)
        for seed in range(seeds)
        for order in orders
    ]
    return summed(rows, orders=orders)


SIZES = [(1, 1, (AB,)), (2, 2, (AB, BA)), (4, 3, (AB, BA))]


@pytest.mark.parametrize("size", SIZES)
def test_the_reports_take_any_size(size: Any, tmp_path: Path, capsys: Any) -> None:
    found = many(*size)
    with reporting(full=True):
        for plugin in (comparison_tables, comparison_figures, comparison):
            plugin.contrail_comparison(comparison=found, directory=str(tmp_path))
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines() if str(tmp_path) not in line)
    assert ("Difference to sequential" in shown) == (size[0] > 1)
    assert ("Average score by order" in shown) == (len(size[2]) > 1)
    images = {path.name for path in tmp_path.glob("*.png")}
    expected = {"compare.png", "compare.curves.png"}
    assert images == expected | ({"compare.orders.png"} if len(size[2]) > 1 else set())
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))


SIX = ["babyai", "textcraft", "alfworld", "webshop", "searchqa", "sciworld"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_comparison_of_six_environments_is_short(
    width: int, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    found = many(4, 3, (AB,))
    for item in found["summary"].values():
        item["success"] = dict.fromkeys(SIX, item["success"]["babyai"])
    found["environments"] = SIX
    found["references"] = {name: dict.fromkeys(SIX, 0.25) for name in ("random", "base", "expert")}
    comparison.contrail_comparison(comparison=found, directory=str(tmp_path))
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if str(tmp_path) not in line]
    assert len(lines) <= 50
    assert max(map(len, lines)) <= width
    assert all(line.count("[") == line.count("]") for line in lines)  # no bracket is broken
    summary = found["summary"].items()
    scores = {label: item["metrics"]["average_score"] for label, item in summary}
    best = max(scores, key=lambda label: scores[label]["mean"])
    said = f"{best} ends with the highest average score, {scores[best]['mean']:.2f} ["
    assert said in " ".join(lines[1:5])


def test_the_terminal_shows_what_the_summary_says(tmp_path: Path, capsys: Any) -> None:
    found = many(2, 3, (AB,))
    found["shared"] = {"cpu_seconds": 83.4, "evaluations": 12, "updates": 4, "runs": [1]}
    with reporting(full=True):
        comparison.contrail_comparison(comparison=found, directory=str(tmp_path))
    shown = capsys.readouterr().out
    half = T_2 * 0.03 / math.sqrt(3)
    # Forgetting of `sequential`: 0.9 - 0.2 - 0.03.
    assert "0.67" in shown
    assert f"[{0.67 - half:.2f}, {0.67 + half:.2f}]" in shown
    assert "-0.10" in shown  # the difference of `replay`
    assert "12 evaluations, 4 updates; saved 83 CPU seconds" in " ".join(shown.split())
    assert "95% intervals over 3 training seeds" in shown


def test_tables_for_other_programs(tmp_path: Path) -> None:
    found = many(4, 2, (AB,))
    comparison_tables.contrail_comparison(comparison=found, directory=str(tmp_path))
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = {(line["strategy"], line["quantity"]): line for line in csv.DictReader(file)}
    line = rows["replay fraction=0.25", "forgetting"]
    value = of(found, "replay fraction=0.25")
    assert float(line["mean"]) == value["mean"]
    assert float(line["difference_low"]) == value["difference"]["interval"][0]
    assert rows["sequential", "forgetting"]["difference"] == ""
    assert rows["sequential", CONTINUAL_WORLD]["mean"] == ""
    with (tmp_path / "compare.runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 8
    assert float(runs[0]["success babyai"]) == found["rows"][0]["R"][-1][0]
    assert runs[0]["updates"] == "8"
    tex = (tmp_path / "compare.tex").read_text()
    assert r"100\% \& \{x\} & $" in tex
    alone = summed([row("sequential", R(0.3))])
    assert "Differences" not in comparison_tables.latex(alone)
    tables = tex.split(r"\begin{tabular}")[1:]
    assert len(tables) == 4
    for part in tables:
        widths = {text.count(" & ") for text in part.splitlines() if text.endswith(r"\\")}
        assert len(widths) == 1


def test_seven_strategies_have_colours_of_their_own() -> None:
    assert len(set(comparison_figures.COLOURS)) == 7
