"""Several strategies as one, with the names of those that raise."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy

from contrail.config import RunConfig
from contrail.environment import Task
from contrail.errors import ConfigError, ContrailError, PluginError, boundary
from contrail.registry.avalanche import AvalancheStrategy
from contrail.registry.plugins import Plugins, blamed, blaming
from contrail.registry.registered import Registered, check_start
from contrail.runs import returned
from contrail.runs.state import separate_tensors
from contrail.stage import Stage
from contrail.strategy import StageContext, Strategy
from contrail.training.objective import Objective

if TYPE_CHECKING:
    import torch

    from contrail.episode import Episode
    from contrail.model.policy import Policy
    from contrail.training.learner import Learner
    from contrail.training.objective import Groups

T = TypeVar("T")


@dataclass
class _Member:
    name: str
    registered: Registered[type[Strategy]]
    strategy: Strategy
    penalties: list[float] = field(default_factory=list)
    """Return what the strategy added to the losses of the present update, per optimizer step."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the strategy; an exception carries the strategy's name."""
        with boundary(functools.partial(self.blame, method)):
            return getattr(self.strategy, method)(*arguments)

    def answer(self, convert: Callable[..., T], method: str, *arguments: Any, given: Any = ()) -> T:
        """Return the converted result of a method; `given` are further arguments of `convert`."""
        with boundary(functools.partial(self.blame, method)):
            return convert(getattr(self.strategy, method)(*arguments), *given)

    def terms(self, *arguments: Any) -> Iterator[torch.Tensor]:
        """Yield the terms of `penalty`."""
        values = self.answer(returned.terms, "penalty", *arguments)
        end = object()
        while True:
            with boundary(functools.partial(self.blame, "penalty")):
                value = next(values, end)
                found = None if value is end else returned.term(value)
            if found is None:
                return
            yield found

    def blame(self, method: str, error: BaseException) -> ContrailError:
        return blamed("strategy", self.name, self.registered, method, error)

    def overrides(self, method: str) -> bool:
        own = method in vars(self.strategy)
        return own or getattr(type(self.strategy), method) is not getattr(Strategy, method)

    @property
    def evaluates(self) -> bool:
        """Whether it may change the policy that evaluations play."""
        return self.overrides("evaluating") or isinstance(self.strategy, AvalancheStrategy)


class Composition:
    """The strategies of a run, in the order in which they were written.

    The loop calls its methods, which are those of a `Strategy`. At most one member decides the
    stages and one the tasks; penalties add up; the others do their parts in turn.
    """

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = list(members)
        self._template: Any = None  # of Avalanche: the loop
        self._changed: set[str] = set()  # members that may have a state
        self._drawn: Counter[str] = Counter()  # tasks of the present update, by environment
        self.pending: Sequence[Task] | None = None
        """The tasks that have been drawn for an update and not been learnt from yet."""
        self.idle = False
        """Whether the run warms up: see `rest`."""

    def rest(self, learner: Learner, resting: bool) -> None:
        """Let no member act or have a state while the run warms up, and none have changed the
        learner: `begin` is called again afterwards."""
        self.idle = resting
        learner.by_environment |= resting

    @property
    def restarts(self) -> bool:
        """See `Strategy.restarts`."""
        return any(member.strategy.restarts for member in self._members)

    @property
    def branches(self) -> bool:
        """See `Strategy.branches`."""
        return any(member.strategy.branches for member in self._members)

    @property
    def own_loras(self) -> bool:
        """Whether environments are evaluated with LoRAs of their own, not with the policy's."""
        return any(member.overrides("evaluating") for member in self._members)

    def changes_from(self, method: str) -> float | None:
        """Return the first stage, counted from 1, in which a member may change the policy in
        `method`, or by what it evaluates with; None if none does.

        A restart is none: it is known what comes of it.
        """
        starts = [
            member.strategy.starts_at or 1
            for member in self._members
            if member.evaluates
            or (member.overrides(method) and not (method == "enter" and member.strategy.restarts))
        ]
        return min((start for start in starts if start < Strategy.NEVER), default=None)

    def bind(self, template: Any) -> list[Any]:
        """Return the plugins of Avalanche among the members, bound to the template that will call
        them."""
        self._template = template
        strategies = [member.strategy for member in self._members]
        wrapped = [item for item in strategies if isinstance(item, AvalancheStrategy)]
        for strategy in wrapped:
            strategy.template = template
        return [strategy.plugin for strategy in wrapped]

    def trigger(self, callback: str, **attributes: Any) -> None:
        """Set attributes of Avalanche's template, and call a callback of Avalanche's plugins."""
        for name, value in attributes.items():
            setattr(self._template, name, value)
        for member in self._acting:
            plugin = getattr(member.strategy, "plugin", None)
            if isinstance(member.strategy, AvalancheStrategy) and hasattr(plugin, callback):
                with boundary(functools.partial(member.blame, callback)):
                    getattr(plugin, callback)(self._template)

    def stages(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        return self._decider("stages").answer(returned.stages, "stages", stages)

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        for member in self._members:
            member.call("begin", learner, stages)

    def objective(self, stage: Stage, objective: Objective) -> Objective:
        """What the stage learns by; later members wrap what earlier ones return."""
        for member in self._members:
            objective = member.call("objective", stage, objective)
            if not isinstance(objective, Objective):
                wrong = f"it must return a contrail.Objective; it returned {objective!r}"
                raise member.blame("objective", ValueError(wrong))
        return objective

    @property
    def _acting(self) -> Sequence[_Member]:
        return () if self.idle else self._members

    def enter(self, context: StageContext, resumed: bool) -> None:
        for member in self._acting:
            self._changed.add(member.name)
            member.call("enter", context, resumed)

    def draw(
        self,
        stage: Stage,
        update: int,
        count: int,
        rng: numpy.random.Generator,
        known: returned.TrainingTasks,
    ) -> Sequence[Task]:
        """The tasks of one update, all of them among the `known` ones.

        If the run was interrupted while they were played, they are those that were drawn then: a
        strategy may have changed its state when it drew them.
        """
        if self.pending is None:
            self.pending = self._draw(stage, update, count, rng, known)
        self._drawn = Counter(task.environment for task in self.pending)
        return self.pending

    def _draw(
        self,
        stage: Stage,
        update: int,
        count: int,
        rng: numpy.random.Generator,
        known: returned.TrainingTasks,
    ) -> Sequence[Task]:
        if self.idle:
            return stage.sample(count, rng, dict.fromkeys(stage.environments, 1.0))
        arguments = (stage, update, count, rng)
        return self._decider("draw").answer(
            returned.tasks, "draw", *arguments, given=(count, known)
        )

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        self.pending = None
        for member in self._acting:
            member.call("observe", stage, episodes, rng)

    def gives_bonus(self, number: int) -> list[str]:
        """Return the members that may add to advantages in the stage with this number."""
        return [
            member.name
            for member in self._members
            if member.overrides("bonus") and (member.strategy.starts_at or 1) <= number
        ]

    def bonus(self, learner: Learner, groups: Groups) -> list[float]:
        """Return the sum of what the members add to each episode's advantage."""
        total = [0.0] * sum(map(len, groups))
        for member in self._acting:
            given = (len(total),)
            added = member.answer(returned.bonus, "bonus", learner, groups, given=given)
            if added:
                total = [value + more for value, more in zip(total, added, strict=True)]
        return total

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        for member in self._acting:
            total, added = 0.0, False
            for term in member.terms(learner, episodes, rng):
                total, added = total + float(term.detach()), True
                yield term
            if added:
                member.penalties.append(total)

    def scalars(self) -> dict[str, float]:
        """Return scalars of the present update.

        `drawn/ENVIRONMENT` is the number of its tasks that were drawn, `STRATEGY/penalty` what a
        member added to the loss. The scalars that members logged stand beside them.
        """
        found = {f"drawn/{name}": float(count) for name, count in self._drawn.items()}
        for member in self._acting:
            for name, value in member.call("take_logged").items():
                found[f"{member.name}/{name}"] = value
            if member.penalties:
                found[f"{member.name}/penalty"] = sum(member.penalties) / len(member.penalties)
                member.penalties.clear()
        return found

    def leave(self, context: StageContext) -> None:
        for member in self._acting:
            member.call("leave", context)

    @contextmanager
    def evaluating(self, policy: Policy, test: Stage) -> Iterator[None]:
        """Context manager around the evaluation of one environment."""
        with self.playing(policy, test.name):
            self.trigger("before_eval_exp", experience=test)
            yield
            self.trigger("after_eval_exp")

    @contextmanager
    def playing(self, policy: Policy, environment: str) -> Iterator[None]:
        """Context manager: the policy is the one that plays an environment in evaluations."""
        with ExitStack() as stack:
            for member in self._acting:
                found = member.answer(returned.manager, "evaluating", policy, environment)
                stack.enter_context(found)
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return the members' states by name, without the empty ones."""
        states = {}
        for member in self._acting:
            if state := member.call("state_dict"):
                try:
                    separate_tensors(state)
                except TypeError as error:
                    raise member.blame("state_dict", error) from error
                states[member.name] = state
        return states

    @property
    def replays(self) -> bool:
        """Whether a member draws tasks of earlier stages for the stage's objective."""
        return any(member.strategy.replays for member in self._members)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in a run that has begun or has been trained since.

        A member whose state was empty is given it only if it may change evaluations, and has had
        another state: rows of R are evaluated later when an environment is added to a run.
        """
        for member in self._members:
            if member.name in state:
                member.call("load_state_dict", state[member.name])
                self._changed.add(member.name)
            elif member.name in self._changed and member.evaluates:
                member.call("load_state_dict", {})

    def choose_from(self, state: dict[str, Any]) -> None:
        """Restore the members that choose the policy which plays; the run has not begun."""
        for member in self._members:
            if member.overrides("evaluating") and member.name in state:
                member.call("load_state_dict", state[member.name])

    def _decider(self, method: str) -> _Member:
        deciding = [member for member in self._members if member.overrides(method)]
        return (deciding or self._members)[0]


def _refuse_callbacks(member: _Member) -> None:
    """Refuse methods that look like callbacks, and are none.

    Raises:
        PluginError: the strategy defines one.
    """
    for name in dir(member.strategy):
        if name.startswith(("before_", "after_")):
            instead = "enter" if name.startswith("before_") else "leave"
            raise PluginError(
                f"strategy {member.name!r} (plugin {member.registered.plugin!r}): {name} is never "
                f"called. Use {instead}(context, ...) of contrail.Strategy."
            )


def _check_start(member: _Member) -> None:
    """Refuse an impossible `starts_at`, which settings may decide: it is checked when the strategy
    is made."""
    check_start(
        f"strategy {member.name!r} (plugin {member.registered.plugin!r})",
        member.strategy.starts_at,
    )


DECISIONS = {"stages": "the stages", "draw": "the tasks of an update"}


def compose(config: RunConfig, plugins: Plugins) -> Composition:
    """Return the strategies that the configuration names, made and put together.

    Raises:
        ConfigError: they do not go together.
        PluginError: one raised.
    """
    members = []
    for component in config.strategies:
        registered = plugins.strategies[component.name]
        with blaming("strategy", component.name, registered, "cannot be made"):
            made = registered.value(component.settings)
        members.append(_Member(component.name, registered, made))
        _refuse_callbacks(members[-1])
        _check_start(members[-1])
    for member in members:
        if len(members) > 1 and member.strategy.exclusive:
            reason = member.strategy.exclusive
            raise ConfigError(
                f"{member.name!r} does not go with others: {reason}. Use it alone.",
                key=("strategy",),
            )
    for method, what in DECISIONS.items():
        deciding = [member.name for member in members if member.overrides(method)]
        if len(deciding) > 1:
            raise ConfigError(
                f"{deciding[0]!r} and {deciding[1]!r} do not go together: both decide {what}. "
                "Remove one.",
                key=("strategy",),
            )
    return Composition(members)
