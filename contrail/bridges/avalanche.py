"""A stream of contrail's as an Avalanche benchmark, for Avalanche's templates and strategies.

benchmark = contrail.bridges.as_avalanche("stream.yaml")
for experience in benchmark.train_stream:
    text, info = experience.environment.reset(seed=0)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from contrail.adapter import Adapter
from contrail.api import stream_of
from contrail.bridges.gymnasium import Played
from contrail.compat.avalanche import CLExperience, EagerCLStream
from contrail.config import load
from contrail.environment import Task
from contrail.errors import ConfigError
from contrail.given import Plugin
from contrail.registry.plugins import Plugins
from contrail.stage import Stage
from contrail.stream.listing import listed, maker
from contrail.stream.scenario import make_scenario
from contrail.workers.factory import EnvironmentFactory

from avalanche.benchmarks.scenarios.generic_scenario import CLScenario  # isort: skip


Collate = Callable[[list[tuple[str, str, int]]], Any]


class Experience(CLExperience):  # type: ignore[misc]
    """A stage, or the test tasks of an environment, as an experience of Avalanche.

    It has the members of Avalanche's RLExperience, with a gymnasium environment, and those of its
    DatasetExperience, with the expert's actions.

    Attributes:
        name: the name of the stage, or of the environment.
        tasks: the tasks to train on, or to test.
        adapter: the adapter through which the model acts in the stage.
        updates: the number of updates of the stage.
        task_label: the index of the environment among the columns of R.
        n_envs: 1.
    """

    def __init__(
        self, stage: Stage, make: EnvironmentFactory, task_label: int, collate_fn: Collate | None
    ) -> None:
        super().__init__(current_experience=0, origin_stream=None)
        [label] = stage.environments
        self.name: str = stage.name
        self.tasks: Sequence[Task] = stage.tasks[label]
        self.adapter: Adapter = stage.adapters[label]
        self.updates: int = stage.updates
        self.task_label = task_label
        self.task_labels = [task_label]
        self.n_envs = 1
        self._make = make
        self._collate_fn = collate_fn

    @property
    def env(self) -> Played:
        """The same as `environment`."""
        return self.environment

    @cached_property
    def environment(self) -> Played:
        """The environment as gymnasium's, with the experience's tasks; made when first used."""
        return Played(self._make.here(), self.tasks)

    @cached_property
    def dataset(self) -> Any:
        """An AvalancheDataset of (observation's text, expert's action, task label).

        Raises:
            ConfigError: the environment has no expert for any of the tasks.
        """
        from avalanche.benchmarks.utils import AvalancheDataset
        from avalanche.benchmarks.utils.data_attribute import DataAttribute

        decisions = list(self._expert_decisions())
        if not decisions:
            raise ConfigError(
                f"{self.name!r} has no expert: it has an environment, but no dataset."
            )
        labels = DataAttribute(
            [self.task_label] * len(decisions), "targets_task_labels", use_in_getitem=True
        )
        return AvalancheDataset([decisions], data_attributes=[labels], collate_fn=self._collate_fn)

    def _expert_decisions(self) -> Iterable[tuple[str, str]]:
        played = self.environment
        for task in self.tasks:
            actions = played.environment.expert(task)
            text, _ = played.reset(options={"task": task.id})
            for action in actions or ():
                yield text, action
                text, _, terminated, truncated, _ = played.step(action)
                if terminated or truncated:
                    break


def as_avalanche(
    stream: str | os.PathLike[str] | Mapping[str, Any],
    *overrides: str,
    plugins: Plugins | Iterable[Plugin] = (),
    collate_fn: Collate | None = None,
    **values: Any,
) -> Any:
    """Return a stream as an Avalanche benchmark.

    Args:
        stream: as for `contrail.run`.
        overrides: as for `contrail.run`.
        plugins: as for `contrail.run`.
        collate_fn: encodes a list of (text, action, task label) of the experiences' datasets as
            the minibatch that the template takes.
        values: as for `contrail.run`.

    Returns:
        A CLScenario: `train_stream` has an experience for each stage, `test_stream` one for each
        column of R with its test tasks.

    Raises:
        ContrailError: the stream asks for something impossible.
    """
    source, texts, loaded = stream_of(stream, overrides, plugins, values)
    with source.located():
        config, loaded = load(source, texts, loaded)
        with listed(config, loaded) as listing:
            scenario = make_scenario(config, loaded, listing)
    makers = {item.label: maker(item, loaded) for item in config.environments}
    labels = {name: index for index, name in enumerate(scenario.environments)}

    def experiences(stages: Iterable[Stage]) -> list[Experience]:
        return [
            Experience(stage, makers[name], labels[name], collate_fn)
            for stage in stages
            for name in stage.environments
        ]

    return CLScenario(
        [
            EagerCLStream("train", experiences(scenario.train)),
            EagerCLStream("test", experiences(scenario.test)),
        ]
    )
