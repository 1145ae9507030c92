"""The adapter `choose`: the model picks one of the admissible actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import contrail
from contrail import ConfigError


class Choose(contrail.Adapter):
    """The model chooses among the admissible actions, by the softmax over their scores.

    As in GLAM (arXiv:2302.02662) and, for the normalisation by length, TWOSOME (arXiv:2401.14151).
    The model does not see the list; its answers are chosen from it.
    """

    def render(self, observation: contrail.Observation) -> str:
        return observation.text

    def candidates(self, observation: contrail.Observation) -> Sequence[str]:
        if observation.actions is None:
            raise ConfigError(
                "adapter: choose needs the admissible actions, and the environment does not list "
                "them. Use `adapter: react`."
            )
        return observation.actions

    def parse(self, text: str, observation: contrail.Observation) -> str:
        return text


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("choose", Choose)
