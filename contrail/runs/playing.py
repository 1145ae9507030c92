"""Which policy plays an environment, where what a run has trained is evaluated again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from contrail.model.policy import Policy
from contrail.registry.plugins import Plugins
from contrail.runs.composition import compose
from contrail.runs.directory import STATE, read_checkpoint
from contrail.runs.policies import LoRADirectory
from contrail.runs.position import Position
from contrail.runs.state import join, load_tensors

Playing = Callable[[str], AbstractContextManager[None]]
"""Of an environment's label: the policy is the one that plays it."""


def playing(
    policy: Policy, lora: LoRADirectory | None, plugins: Plugins, say: Callable[[str], None]
) -> Playing:
    """Return context managers in which a policy plays environments as the run evaluates them.

    Args:
        policy: with the LoRA, if there is one.
        lora: found under the policy's name.
        plugins: the loaded ones.
        say: takes a warning, or a note that the strategy may choose another LoRA.

    Raises:
        ContrailError: the checkpoint is damaged, or the run's strategy cannot be made.
    """
    config = lora.config if lora else None
    if lora is None or config is None:
        return _as_it_is
    strategy = compose(config, plugins)
    if not strategy.own_loras:
        return _as_it_is
    if not (lora.path / STATE).is_file():  # `contrail export` has written it
        say(
            f"warning: {config.strategy.name!r} may evaluate environments with LoRAs of their own; "
            f"here that of {lora.path} plays them all. Evaluate the run to have each one's."
        )
        return _as_it_is
    state = read_checkpoint(lora.path)
    # Strategies begin after the warm-up, stage 1.
    before = Position(state["stage"], state["update"]) <= Position(1)
    strategy.idle = config.warmup is not None and before
    strategy.choose_from(join(state["strategy"], load_tensors(lora.path)))
    say(f"note: {config.strategy.name!r} chooses the LoRA that plays an environment.")
    return lambda label: strategy.playing(policy, label)


def _as_it_is(label: str) -> AbstractContextManager[None]:
    return nullcontext()
