"""What is trained on at each update. Strategy authors subclass `Strategy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from contrail.environment import NoConfig, Task

if TYPE_CHECKING:
    import numpy

    from contrail.stream import Experience


class Strategy:
    """A continual strategy; as it stands, each stage trains on its own tasks in the stream's order.

    A strategy is also a plugin of the core loop: any callback of Avalanche's templates that it
    defines (`before_training_exp(self, loop)`, `after_training_exp(self, loop)`, …) is called.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the strategy's keys in stream.yaml."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def stages(self, experiences: Sequence[Experience]) -> Sequence[Experience]:
        """The stages to train, made of the stream's experiences."""
        return experiences

    def draw(
        self, experience: Experience, update: int, count: int, rng: numpy.random.Generator
    ) -> Sequence[Task]:
        """The tasks of one update.

        Args:
            experience: the present stage.
            update: how many updates of the stage have been made.
            count: how many tasks to draw.
            rng: the only source of randomness to use, the same when the update is made again.
        """
        return experience.sample(count, rng)

    def state_dict(self) -> dict[str, Any]:
        """All that must survive an interruption, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state saved by `state_dict`."""
