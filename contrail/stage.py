"""One entry of the stream: which tasks are trained on, and through which adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy

from contrail.adapter import Adapter
from contrail.compat.avalanche import CLExperience
from contrail.environment import Task
from contrail.errors import ConfigError
from contrail.training.objective import Objective


class Stage(CLExperience):  # type: ignore[misc]
    """One stage: which tasks are trained on, through which adapters, for how many updates.

    `tasks` and `adapters` are by environment (the name of its column in R). A task's `environment`
    is that name too. `objective` is what the stage learns by; None for GRPO. In a warm-up no
    strategy acts.
    """

    warmup: bool = False

    def __init__(
        self,
        name: str,
        tasks: Mapping[str, Sequence[Task]],
        adapters: Mapping[str, Adapter],
        updates: int = 0,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(current_experience=0, origin_stream=None)
        self.name = name
        # Copies: a strategy may change those of one stage in place.
        self.tasks: dict[str, Sequence[Task]] = {
            name: list(listed) for name, listed in tasks.items()
        }
        self.adapters = dict(adapters)
        self.updates = updates
        self.objective = objective

    @property
    def environments(self) -> list[str]:
        """The environments the stage's tasks are of."""
        return list(self.tasks)

    @classmethod
    def union(cls, name: str, stages: Sequence[Stage], updates: int) -> Stage:
        """One stage with the tasks of several.

        Raises:
            ConfigError: two of them learn by different objectives, or see one environment through
                different adapters.
        """
        tasks: dict[str, dict[Task, None]] = {}
        adapters: dict[str, Adapter] = {}
        objective = stages[0].objective if stages else None
        for stage in stages:
            if not _alike(stage.objective, objective):
                raise ConfigError(
                    f"{stage.name!r} and {stages[0].name!r} learn by different objectives, so they "
                    "cannot be put together. Give them the same `learn`."
                )
            for environment, listed in stage.tasks.items():
                tasks.setdefault(environment, {}).update(dict.fromkeys(listed))
                adapter = stage.adapters[environment]
                other = adapters.setdefault(environment, adapter)
                if type(other) is not type(adapter) or other.config != adapter.config:
                    raise ConfigError(
                        f"stages that train on {environment!r} through different adapters cannot "
                        "be put together. Give them one adapter, or the environment two labels."
                    )
        listed_tasks = {key: list(listed) for key, listed in tasks.items()}
        return cls(name, listed_tasks, adapters, updates, objective)

    @classmethod
    def warm_up(cls, stages: Sequence[Stage], updates: int, objective: Objective) -> Stage:
        """Return a warm-up on the tasks of all stages; their order does not matter.

        Raises:
            ConfigError: two of them see one environment through different adapters.
        """
        alike = [Stage(item.name, item.tasks, item.adapters, 0, objective) for item in stages]
        made = cls.union("warmup", alike, updates)
        made.tasks = {
            name: sorted(made.tasks[name], key=lambda task: task.id) for name in sorted(made.tasks)
        }
        made.warmup = True
        return made

    def sample(
        self, count: int, rng: numpy.random.Generator, shares: Mapping[str, float] | None = None
    ) -> list[Task]:
        """Draw tasks, each at most once if there are enough.

        Args:
            count: the number of tasks.
            rng: the source of randomness.
            shares: relative probabilities of the environments; by default all tasks are equally
                probable.
        """
        if shares is not None:
            weights = numpy.array([shares[name] for name in self.tasks])
            counts = rng.multinomial(count, weights / weights.sum())
            parts = zip(self.tasks.values(), counts, strict=True)
            return [task for tasks, part in parts for task in draw_tasks(tasks, int(part), rng)]
        return draw_tasks([task for group in self.tasks.values() for task in group], count, rng)


def _alike(one: Objective | None, other: Objective | None) -> bool:
    return type(one) is type(other) and (one and one.config) == (other and other.config)


def draw_tasks(tasks: Sequence[Task], count: int, rng: numpy.random.Generator) -> list[Task]:
    """Draw `count` of the tasks, each at most once if there are enough."""
    chosen = rng.choice(len(tasks), size=count, replace=len(tasks) < count)
    return [tasks[index] for index in chosen]
