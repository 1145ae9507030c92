"""The check of strategies that choose the policy which plays an environment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import contrail
from contrail.check import training
from contrail.check.others import subject_of
from contrail.check.subject import Failed
from contrail.check.trial import Trial
from contrail.registry.plugins import Plugins, load_plugins


class Begins(contrail.Strategy):
    """It evaluates with what only `begin` gives it."""

    def begin(self, learner: Any, stages: Any) -> None:
        self.fresh = learner.policy.snapshot()

    def evaluating(self, policy: Any, environment: str) -> Any:
        return policy.using(self.fresh)


class Forgets(contrail.Strategy):
    """It evaluates with a policy that it does not keep."""

    fresh: Any = None

    def enter(self, context: Any, resumed: bool) -> None:
        self.fresh = self.fresh or context.policy.snapshot()

    def evaluating(self, policy: Any, environment: str) -> Any:
        return policy.using(self.fresh) if self.fresh else contextlib.nullcontext()


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture
def trial(plugins: Plugins) -> Iterator[Callable[[str], Trial]]:
    made = []

    def make(name: str) -> Trial:
        subject: Any = subject_of("strategy", name, plugins)
        made.append(subject)
        return subject  # type: ignore[no-any-return]

    yield make
    for subject in made:
        subject.close()


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Begins, "has no attribute 'fresh'.* after load_state_dict alone"),
        (Forgets, "in row . has other episodes when the checkpoint is evaluated again"),
    ],
)
def test_it_can_fail(
    plugins: Plugins, trial: Callable[[str], Trial], cls: type, words: str
) -> None:
    with pytest.raises(Failed, match=words):
        training.evaluated(trial(plugins.add_class(cls)))


def test_it_passes(trial: Callable[[str], Trial]) -> None:
    assert training.evaluated(trial("adapters")) == "4 rows"
    assert training.evaluated(trial("kl")) == "it does not choose the policy"
