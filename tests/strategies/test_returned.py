"""What a strategy returns is looked at where it comes from: the error names the strategy."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from stages import make_stage, tasks

import contrail
from contrail.environment import Task
from contrail.errors import PluginError
from contrail.registry.registered import Registered
from contrail.runs import returned
from contrail.runs.composition import Composition, _Member

RNG = numpy.random.default_rng(0)
LEAF = torch.zeros((), requires_grad=True)


class Returning(contrail.Strategy):
    """Returns whatever it was told to, from every method."""

    returns: Any = None

    def stages(self, stages: Any) -> Any:
        return self.returns

    def bonus(self, learner: Any, groups: Any) -> Any:
        return self.returns

    def penalty(self, learner: Any, episodes: Any, rng: Any) -> Any:
        return self.returns

    def evaluating(self, policy: Any, environment: str) -> Any:
        return self.returns


def composed(returns: Any) -> Composition:
    strategy = Returning()
    strategy.returns = returns
    return Composition([_Member("mine", Registered(Returning, "plugin"), strategy)])


def message(error: pytest.ExceptionInfo[PluginError], method: str) -> str:
    begin = f"strategy 'mine' (plugin 'plugin'): {method}: "
    assert str(error.value).startswith(begin)
    return str(error.value).removeprefix(begin)


@pytest.mark.parametrize(
    ("returns", "wrong"),
    [
        (0.1, "it must yield its terms, not return 0.1: write `yield`"),
        (None, "it must yield its terms, not return None"),
        (LEAF * 2, "it must yield its terms, not return tensor"),
        ([0.1], "it must yield tensors of shape (), each with a gradient; it yielded 0.1, of type"),
        ([LEAF + torch.zeros(3)], "it yielded one of shape (3,)"),
        ([torch.tensor(1.0)], "it yielded one that does not depend on the parameters"),
        ([LEAF * torch.nan], "it yielded nan, which is not finite"),
    ],
)
def test_a_penalty(returns: Any, wrong: str) -> None:
    with pytest.raises(PluginError) as error:
        list(composed(returns).penalty(None, [], RNG))  # type: ignore[arg-type]
    assert wrong in message(error, "penalty")


@pytest.mark.parametrize(
    ("returns", "wrong"),
    [
        (None, "it must return a list with a number for each episode, or an empty one"),
        (["a", "b"], "a number of what it returned is 'a', of type str"),
        ([0.0], "it returned 1 numbers for 2 episodes"),
        ([0.0, float("nan")], "it returned numbers that are not finite"),
    ],
)
def test_a_bonus(returns: Any, wrong: str) -> None:
    with pytest.raises(PluginError) as error:
        composed(returns).bonus(None, [[None, None]])  # type: ignore[arg-type, list-item]
    assert wrong in message(error, "bonus")


@pytest.mark.parametrize(
    "returns", [torch.ones(2), numpy.ones(2), (1, 1.0), [numpy.float32(1.0), torch.tensor(1)]]
)
def test_a_bonus_may_be_an_array(returns: Any) -> None:
    assert composed(returns).bonus(None, [[None], [None]]) == [1.0, 1.0]  # type: ignore[arg-type, list-item]


@pytest.mark.parametrize(
    ("returns", "wrong"),
    [
        (None, "it must return a list of contrail.Stage; it returned None"),
        (["a"], "it must return a list of contrail.Stage; it returned ['a']"),
        ([], "it returned no stage, so nothing would be trained"),
    ],
)
def test_stages(returns: Any, wrong: str) -> None:
    with pytest.raises(PluginError) as error:
        composed(returns).stages([make_stage("a", tasks("a", 3))])
    assert wrong in message(error, "stages")


def test_what_evaluations_play_with() -> None:
    with pytest.raises(PluginError) as error, composed(None).playing(None, "a"):  # type: ignore[arg-type]
        pass
    wrong = "it must return a context manager; it returned None. Decorate it with"
    assert wrong in message(error, "evaluating")


def test_a_split_may_have_a_name_of_its_own() -> None:
    task = Task("a", "1", 1, "training")
    assert returned.tasks([task], 1, {"a": {("1", 1)}}) == [task]


def test_a_method_of_the_instance_counts() -> None:
    class Set(contrail.Strategy):
        def __init__(self, config: Any = None) -> None:
            super().__init__(config)
            self.bonus = lambda learner, groups: [1.0]  # type: ignore[method-assign]

    made = Composition([_Member("mine", Registered(Set, "plugin"), Set())])
    assert made.gives_bonus(1) == ["mine"]
    assert composed([1.0]).gives_bonus(1) == ["mine"]
    assert (
        Composition([_Member("plain", Registered(Set, "p"), contrail.Strategy())]).gives_bonus(1)
        == []
    )
