"""Checks of what is no environment: for each check a plugin that fails it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest

import contrail
import contrail.check
from contrail.check import check_other, interface, kinds_of, run, training
from contrail.check.others import CHECKS, AdapterSubject, subject_of
from contrail.check.subject import Failed, Skipped, Warned
from contrail.check.trial import Trial, difference
from contrail.errors import ConfigError
from contrail.registry.plugins import Plugins, load_plugins

GENERATOR = numpy.random.default_rng()


class Unseeded(contrail.Strategy):
    starts_at = 1

    def draw(self, stage: Any, update: int, count: int, rng: Any) -> Any:
        return stage.sample(count, GENERATOR)


class Global(contrail.Strategy):
    starts_at = 1

    def draw(self, stage: Any, update: int, count: int, rng: Any) -> Any:
        random.random()
        return stage.sample(count, rng)


class Forgets(contrail.Strategy):
    """It draws the tasks in turn, and does not keep where it is."""

    starts_at = 1

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.place = 0

    def draw(self, stage: Any, update: int, count: int, rng: Any) -> Any:
        tasks = [task for listed in stage.tasks.values() for task in listed]
        self.place += count
        return [tasks[(self.place + index) % len(tasks)] for index in range(count)]


class Keeps(Forgets):
    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


class LoadsNothing(Keeps):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Adds(Keeps):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place += state["place"]


class Late(Keeps):
    """It acts in the first stage, and says that it begins with the second."""

    starts_at = 2


class Idle(contrail.Strategy):
    starts_at = 1


class More(contrail.Strategy):
    starts_at = 1

    def stages(self, stages: Any) -> Any:
        return [
            contrail.Stage(item.name, item.tasks, item.adapters, item.updates + 1, item.objective)
            for item in stages
        ]


class Raises(contrail.Strategy):
    def enter(self, context: Any, resumed: bool) -> None:
        raise KeyError("door")


class Counts(contrail.Objective):
    """Its loss depends on how many updates it has made, which it does not keep."""

    made = 0

    def start(self, learner: Any) -> None:
        self.made = 0

    def weights(self, learner: Any, groups: Any, minibatches: Any) -> Any:
        import torch

        self.made += 1
        return [torch.ones(len(indices)) for indices in minibatches]

    def loss(self, learner: Any, decisions: Any, recorded: Any, batch: Any, final: bool) -> Any:
        sign = 1 if self.made % 2 else -1
        return sign * (decisions.logprobs * decisions.mask).sum()


class Nothing(Counts):
    def weights(self, learner: Any, groups: Any, minibatches: Any) -> Any:
        import torch

        return [torch.zeros(len(indices)) for indices in minibatches]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture(scope="module")
def plain(plugins: Plugins) -> Iterator[Path]:
    """The small run without the plugin."""
    subject: Any = subject_of("strategy", "sequential", plugins)
    yield subject.plain
    subject.close()


@pytest.fixture
def trial(plugins: Plugins, plain: Path) -> Iterator[Callable[[type], Trial]]:
    made = []

    def make(cls: type) -> Trial:
        name = plugins.name_of(cls) or plugins.add_class(cls)
        subject: Any = subject_of(kinds_of(name, plugins)[0], name, plugins)
        subject.plain = plain  # the same for all
        made.append(subject)
        return subject  # type: ignore[no-any-return]

    yield make
    for subject in made:
        subject.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "check", "words"),
    [
        (Raises, training.run, r"strategy 'Raises'.*KeyError: 'door'"),
        (More, training.cost, "12 updates where a run without it has 9"),
        (Unseeded, training.repeat, r"(weights|episodes).*Take all randomness from the `rng`"),
        (Forgets, training.resume, "interrupted after update 1 of stage 1: .* differ after update"),
        (LoadsNothing, training.state, r"state\['place'\] is another one after load_state_dict"),
        (Adds, training.state, r"state\['place'\] is another one after a second load_state_dict"),
        (Global, training.randomness, "changes the global state of random"),
        (Late, training.sharing, "starts_at is 2, and the weights after stage 1 are not those"),
        (Counts, training.resume, "interrupted after update 1 of stage 1"),
    ],
)
def test_each_check_of_a_run_can_fail(
    cls: type, check: Any, words: str, trial: Callable[[type], Trial]
) -> None:
    with pytest.raises(Failed, match=words):
        check(trial(cls))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Idle, Nothing])
def test_what_has_no_effect_is_told(cls: type, trial: Callable[[type], Trial]) -> None:
    with pytest.raises(Warned):
        training.effect(trial(cls))


@pytest.mark.slow
def test_a_strategy_that_keeps_the_contract() -> None:
    report = contrail.check.check(Keeps)
    assert (report.kind, report.name, report.failed) == ("strategy", "Keeps", [])
    assert {finding.state for finding in report.findings} == {"passed"}


def test_a_difference_is_said_with_its_place(trial: Callable[[type], Trial]) -> None:
    subject = trial(Forgets)
    assert difference(subject.first, subject.first) is None
    found = difference(subject.plain, subject.first)
    assert found == "the weights differ after update 1 of stage 1"


class Menu(contrail.Adapter):
    """Keeps the contract."""

    def render(self, observation: Any, episode: Any) -> str:
        return f"{episode.turn}. {observation.text}"

    def candidates(self, observation: Any) -> Any:
        actions = observation.actions
        return None if actions is None else [f"> {action}" for action in actions]

    def answer(self, action: str) -> str:
        return f"> {action}"

    def parse(self, text: str, observation: Any) -> str:
        if not text.startswith("> "):
            raise contrail.InvalidAction("Begin with >.")
        return text[2:]


class NoText(Menu):
    def render(self, observation: Any, episode: Any) -> Any:
        return None


class Twice(Menu):
    def candidates(self, observation: Any) -> Any:
        known = super().candidates(observation)
        return known and [*known, known[0]]


class Unread(Menu):
    def candidates(self, observation: Any) -> Any:
        return observation.actions


class OneWay(Menu):
    def answer(self, action: str) -> str:
        return f"> {action}!"


class Fragile(Menu):
    def parse(self, text: str, observation: Any) -> str:
        return text.split("> ")[1]


class NeedsAList(Menu):
    def render(self, observation: Any, episode: Any) -> str:
        return f"{observation.text} {', '.join(observation.actions)}"


class Remembers(Menu):
    turns = 0

    def render(self, observation: Any, episode: Any) -> str:
        self.turns += 1
        return f"{self.turns}. {observation.text}"


class Draws(Menu):
    def render(self, observation: Any, episode: Any) -> str:
        return f"{numpy.random.random() > 2}. {observation.text}"  # noqa: NPY002


class Fewer(Menu):
    def candidates(self, observation: Any) -> Any:
        known = super().candidates(observation)
        return known and known[:1]


@pytest.fixture
def adapter(plugins: Plugins) -> Iterator[Callable[[type], AdapterSubject]]:
    made = []

    def make(cls: type) -> AdapterSubject:
        name = plugins.name_of(cls) or plugins.add_class(cls)
        subject = subject_of("adapter", name, plugins)
        made.append(subject)
        return subject  # type: ignore[return-value]

    yield make
    for subject in made:
        subject.close()


def outcome(check: Any, subject: AdapterSubject) -> str:
    finding = run(check, subject)
    return f"{finding.state}: {finding.note}"


OF_ADAPTERS = (*CHECKS["adapter"].needed, *CHECKS["adapter"].others[:7])


@pytest.mark.parametrize(
    ("cls", "name", "words"),
    [
        (NoText, "messages", "failed: .*what render returned"),
        (Twice, "choices", "failed: the candidate '> .*' can be chosen twice"),
        (Unread, "choices", "failed: the candidate 'go left' is no action for parse"),
        (OneWay, "answers", "failed: .*in which parse reads '.*!'"),
        (
            Fragile,
            "nonsense",
            "failed: an empty action: .*IndexError.*Raise contrail.InvalidAction",
        ),
        (NeedsAList, "unlisted", "failed: .*TypeError.*raise contrail.ConfigError"),
        (Remembers, "state", "failed: .*beside other episodes"),
        (Draws, "randomness", "failed: a method changes the global state of numpy.random"),
        (Fewer, "choices", "warned: .* listed actions of .* turns cannot be chosen"),
    ],
)
def test_each_check_of_an_adapter_can_fail(
    cls: type, name: str, words: str, adapter: Callable[[type], AdapterSubject]
) -> None:
    import re

    subject = adapter(cls)
    found = {check.__name__: outcome(check, subject) for check in OF_ADAPTERS}
    assert re.match(words, found.pop(name)), found
    if name != "messages":
        others = {check: text for check, text in found.items() if text.startswith("failed")}
        assert not others or cls in (Unread, Draws, OneWay), others


def test_an_adapter_that_keeps_the_contract(adapter: Callable[[type], AdapterSubject]) -> None:
    subject = adapter(Menu)
    for check in OF_ADAPTERS:
        assert outcome(check, subject).startswith("passed"), check
    assert interface.messages.__doc__


def test_an_adapter_of_tools_is_not_tried_in_runs(plugins: Plugins) -> None:
    subject: Any = subject_of("adapter", "tools", plugins)
    try:
        with pytest.raises(Skipped, match="no tools"):
            CHECKS["adapter"].others[-1](subject)
    finally:
        subject.close()


def tracker(name: str, function: Callable[..., None]) -> ModuleType:
    module = ModuleType(f"tracker_{name}")
    module.contrail_update = contrail.hookimpl(function, specname="contrail_update")  # type: ignore[attr-defined]
    return module


def raises(run: Any, scalars: dict[str, float]) -> None:
    raise OSError("no connection")


def draws(run: Any, scalars: dict[str, float]) -> None:
    random.random()


def watches(run: Any, scalars: dict[str, float]) -> None:
    assert scalars["learning_rate"] > 0


def meddles(run: Any, scalars: dict[str, float]) -> None:
    run.played[-1]["north"] = 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "failed"),
    [
        (watches, []),
        (raises, ["hooks"]),
        (draws, ["randomness"]),
        (meddles, ["unchanged"]),
    ],
)
def test_a_tracker(function: Any, failed: list[str]) -> None:
    report = contrail.check.check(tracker(function.__name__, function), plugins=load_plugins())
    assert report.kind == "tracker"
    assert [finding.check for finding in report.failed] == failed


def test_what_cannot_be_checked(plugins: Plugins) -> None:
    assert kinds_of("distill", plugins) == ["strategy", "objective"]
    assert kinds_of("tensorboard", plugins) == ["tracker"]
    with pytest.raises(ConfigError, match=r"nothing to check is called 'babyia'.*'babyai'"):
        kinds_of("babyia", plugins)
    with pytest.raises(ConfigError, match="nothing to check is called 'table'"):
        kinds_of("table", plugins)  # a report


def test_a_check_whose_precondition_failed_is_skipped(plugins: Plugins) -> None:
    name = plugins.name_of(Raises) or plugins.add_class(Raises)
    report = check_other("strategy", name, plugins, None, None, run)
    assert [finding.check for finding in report.failed] == ["run"]
    assert {finding.state for finding in report.findings[1:]} == {"skipped"}
