"""A study from its file to its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import contrail
from contrail.config import Source
from contrail.errors import ConfigError
from contrail.plugins.reports.study import markdown, show
from contrail.registry.plugins import load_plugins
from contrail.studies.design import EXPERIMENTS, Subject, alone, runs_of
from contrail.studies.plan import SIZES, StudyPlan, read_study, size_file

STUDY = """
model: tiny-random
environments:
  - {name: textcraft, label: craft, depths: [1, 2], max_turns: 3}
  - environment: {name: babyai, label: balls, levels: [GoToRedBallNoDists], max_turns: 3}
    updates: 3
interfaces: [{alias: 1}]
strategies: [sequential, replay]
seeds: [0, 1]
updates: 2
evaluate: {tasks: 8}
"""


def plan(tmp_path: Path, text: str = STUDY, *overrides: str, experiment: str = "all") -> StudyPlan:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return read_study(
        experiment,
        Source(file),
        overrides,
        load_plugins(),
        seeds=None,
        jobs=None,
        out=tmp_path / "out",
    )


def test_every_run_evaluates_the_same_columns(tmp_path: Path):
    made = plan(tmp_path)
    columns = {
        tuple(sorted(item.label for item in run.config.environments))
        for of_seeds in made.runs.values()
        for run in of_seeds.values()
    }
    assert columns == {("balls", "balls~alias=1", "craft", "craft~alias=1")}


def test_what_is_compared_has_equal_numbers_of_updates(tmp_path: Path):
    made = plan(tmp_path)

    def updates(strategy: str, *stages: str) -> int:
        return sum(stage.updates for stage in made.runs[strategy, stages][0].config.stream)

    assert updates("sequential", "craft") == 2
    assert updates("sequential", "balls") == 3
    whole = {updates("sequential", *order) for order in made.subject.orders}
    assert whole == {updates("replay", "craft", "balls"), updates("mixture", "craft", "balls")}
    within = [key for key in made.runs if any("." in stage for stage in key[1])]
    assert within
    assert {updates(*("sequential", *key[1])) for key in within} == {
        updates("sequential", "craft", "craft")
    }


def test_stages_on_halves_train_on_their_difficulties(tmp_path: Path):
    made = plan(tmp_path)
    run = made.runs["sequential", ("craft.easy", "craft.hard")][0]
    assert [stage.train.difficulty for stage in run.config.stream] == [(1,), (2,)]
    few = "  - {environment: {name: textcraft, label: few, depths: [1, 2]}, train: {tasks: 5}}\n"
    few = STUDY.replace("interfaces:", f"{few}interfaces:")
    run = plan(tmp_path, few).runs["sequential", ("few.easy", "few.hard")][0]
    assert [stage.train.tasks for stage in run.config.stream] == [5, 5]
    assert made.subject.split == ["craft"]  # the other's tasks are all of one difficulty


def test_experiments_share_runs():
    subject = Subject(["a", "b", "c"], interfaces=["alias=1"])
    for name in ("mixture", "interface"):
        assert {alone(label) for label in "abc"} <= set(runs_of(name, subject))
    assert set(runs_of("mixture", subject)) <= {
        *runs_of("sequence", subject),
        *runs_of("transfer", subject),
        ("mixture", ("a", "b", "c")),
    }


def test_many_environments_have_some_orders():
    subject = Subject([f"e{number}" for number in range(9)])
    assert len(subject.orders) == len(set(subject.orders)) == 6
    assert subject.orders[0] == tuple(subject.environments)
    assert subject.orders[1] == tuple(reversed(subject.environments))
    assert len(Subject(["a", "b", "c"], most_orders=1).orders) == 1
    assert len(Subject(["a", "b", "c"]).beginnings) == 6


@pytest.mark.parametrize("size", SIZES)
def test_the_sizes_can_be_planned(size: str, tmp_path: Path):
    values = yaml.safe_load(size_file(size).read_text())
    assert values["environments"]
    if size == "paper":
        pytest.skip("it takes the users' own data")
    for experiment in EXPERIMENTS:
        made = read_study(
            experiment,
            Source(size_file(size)),
            (),
            load_plugins(),
            seeds=None,
            jobs=None,
            out=tmp_path,
        )
        assert made.experiments == (experiment,) or made.experiments == [experiment]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stream: [babyai]\n", r"study\.yaml:\d+: stream: a study has no key 'stream'"),
        ("seed: 1\n", r"seed: a study has no key 'seed'\. Write `seeds"),
        ("evaluate: {tasks: 8, environments: [babyai]}\n", "Add them to `environments`"),
        ("seeds: [0, 0]\n", "stands there twice"),
        ("seeds: []\n", "is not a list of seeds"),
        ("updates: none\n", r"study\.yaml:\d+: updates: 'none' is not a whole number from 1"),
        ("environments: []\n", r"`environments` is \[\], which is empty"),
        ("interfaces: 3\n", r"`interfaces` is 3, which is not a list.*`interfaces: \["),
        ("environments: [nowhere]\n", r"study\.yaml:\d+: environments\.0: no environment"),
        ("environments: [textcraft, textcraft]\n", "stands there twice"),
        (
            "environments: [{name: textcraft, depth: 1}]\n",
            r"study\.yaml:\d+: environments\.0.*depths",
        ),
        ("strategies: [mixture]\n", "in the study already"),
        ("strategies: [{name: replay, label: sequential}]\n", "Choose another label"),
        ("strategies: [relpay]\n", "replay"),
        ("strategies: [{name: replay, set: {lora.r: 4}}]\n", "contrail compare"),
        ("interfaces: [{alia: 1}]\n", r"study\.yaml:\d+: interfaces.*alias"),
        ("interfaces: [1]\n", "is not a mapping"),
        ("updatess: 1\n", "updates"),
    ],
)
def test_mistakes_are_named_with_their_line(change: str, message: str, tmp_path: Path):
    name = change.partition(":")[0]
    kept = re.sub(rf"^{name}:.*\n(?:  .*\n)*", "", STUDY, flags=re.MULTILINE)
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, kept + change)
    assert re.search(message, str(error.value), re.DOTALL), str(error.value)


def test_mistakes_in_a_file_are_named_with_their_line_from_python_too(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY + "seed: 1\n")
    with pytest.raises(ConfigError, match=r"study\.yaml:\d+: seed: "):
        contrail.study("transfer", file, out=tmp_path / "out", quiet=True)
    file.write_text(STUDY)
    with pytest.raises(ConfigError, match="twice"):
        contrail.study("transfer", file, seeds=[0, 0], out=tmp_path / "out", quiet=True)


def test_an_unknown_experiment_or_size_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="Did you mean 'transfer'"):
        plan(tmp_path, experiment="transfr")
    with pytest.raises(ConfigError, match="laptop"):
        size_file("laptp")


def test_within_without_difficulties_is_refused_alone_and_left_out_of_all(tmp_path: Path):
    text = STUDY.replace(", depths: [1, 2]", ", depths: [1]")
    with pytest.raises(ConfigError, match="contrail split"):
        plan(tmp_path, text, experiment="within")
    made = plan(tmp_path, text)
    assert "within" not in made.experiments
    assert "contrail split" in made.left_out["within"]


HOSTILE = "<script>alert(1)</script> | **x**\x1b[31m"


def test_the_page_shows_names_as_text():
    study = {
        "name": HOSTILE,
        "experiment": "transfer",
        "experiments": ["transfer"],
        "left_out": {},
        "failed": {"run": HOSTILE},
        "paper": "",
        "rule": "",
        "model": "m",
        "adapter": "choose",
        "environments": [HOSTILE],
        "seeds": [0],
        "test_tasks": 8,
        "runs": {"planned": 2, "ended": 1},
        "cpu_seconds": 60.0,
        "claims": [],
        "tables": [
            {
                "title": HOSTILE,
                "note": "",
                "columns": [HOSTILE],
                "signed": False,
                "rows": [{"label": HOSTILE, "cells": [None]}],
            }
        ],
    }
    page = markdown(study)
    assert "<script>" not in page.replace("&lt;script>", "")
    assert "\x1b" not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(study, console)
    assert "\x1b[31m" not in console.export_text(styles=False)
