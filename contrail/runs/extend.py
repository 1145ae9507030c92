"""What a run may be given later: stages at its end, updates of its last stage, environments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from contrail.config import RunConfig, plain
from contrail.errors import ConfigError
from contrail.registry.plugins import Plugins, blaming


def extends(old: RunConfig, new: RunConfig, changed: Sequence[str], plugins: Plugins) -> bool:
    """Return whether one configuration extends another.

    Args:
        old: of a run that has begun.
        new: the configuration to go on with.
        changed: the keys whose values differ, such as "stream.1.updates".
        plugins: the loaded ones.

    Raises:
        ConfigError: it does, but a run cannot be extended like this.
    """
    last = len(old.stream) - 1
    updates = f"stream.{last}.updates"
    stages = [key for key in changed if _stage(key) > last]
    environments = [key for key in changed if key.startswith("evaluate.environments")]
    if set(changed) - {updates, *stages, *environments, "plugins"}:
        return False
    if not set(old.plugins) <= set(new.plugins):
        return False
    if not all(item in new.environments for item in old.environments):
        return False
    _check_columns(old, new)
    more = updates in changed
    if more and (stages or new.stream[last].updates < old.stream[last].updates):
        return False
    if stages and new.warmup is not None:
        raise ConfigError(
            "the run cannot get further stages: its warm-up would have covered them. Start another "
            "run with `model:` this one.",
            key=("warmup",),
        )
    for component in new.strategies if more or stages else ():
        registered = plugins.strategies[component.name]
        with blaming("strategy", component.name, registered, "cache_key"):
            strategy = registered.value(component.settings)
            unknown = strategy.cache_key(len(old.stream)) is None
        if unknown:
            raise ConfigError(
                f"the run cannot get further {'updates' if more else 'stages'}: what "
                f"{component.name!r} does in a stage may depend on those after it (its `starts_at` "
                "is None). Choose another --out.",
                key=("strategy",),
            )
        if more and strategy.scheduled:
            raise ConfigError(
                f"the last stage cannot get further updates: what {component.name!r} does in a "
                "stage depends on their number. Add a stage, or choose another --out.",
                key=("stream", last, "updates"),
            )
    if more:
        schedule = new.grpo.lr_scheduler_type
        if schedule != "constant":
            raise ConfigError(
                f"the last stage cannot get further updates: with the schedule {schedule!r} its "
                "learning rate depends on their number. Add a stage, or choose another --out.",
                key=("stream", last, "updates"),
            )
    return True


def _check_columns(old: RunConfig, new: RunConfig) -> None:
    """Refuse to go on with columns of R that would be played in another way than before.

    Raises:
        ConfigError: the adapter of a column would change, or its dice.
    """
    for label in [item.label for item in old.environments]:
        if plain(old.adapter_of(label)) != plain(new.adapter_of(label)):
            stages = [stage.environment.label for stage in new.stream]
            raise ConfigError(
                f"{label!r} was evaluated through the adapter {old.adapter_of(label).name!r}, and "
                f"this stage has {new.adapter_of(label).name!r}: its column would mix the two. "
                "Give the environment another label, or choose another --out.",
                key=("stream", stages.index(label)) if label in stages else (),
            )
        if old.dice_of(label) != new.dice_of(label):
            raise ConfigError(
                f"{label!r} is an interface shift of {new.dice_of(label)!r} and would be evaluated "
                "with its dice from now on: its column of R would mix two kinds of luck. Choose "
                "another --out.",
                key=("evaluate", "environments"),
            )


def _stage(key: str) -> int:
    """Return the stage that a key is of, or -1."""
    match = re.match(r"stream\.(\d+)(\.|$)", key)
    return int(match.group(1)) if match else -1
