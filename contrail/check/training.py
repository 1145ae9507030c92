"""Checks of strategies, objectives and trackers, in small runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from contrail.check.subject import Failed, Skipped, Warned
from contrail.check.trial import Trial, budget, difference, weights_at
from contrail.errors import ConfigError, ContrailError, Raised, boundary, message_of
from contrail.registry.observers import read_failures
from contrail.runs.directory import RunDirectory, read_checkpoint
from contrail.runs.evaluate_policy import evaluate_policy
from contrail.runs.position import Position
from contrail.strategy import Strategy

OWN_GENERATOR = (
    "Take all randomness from the `rng` that a method is given, or from contrail.generator(seed, "
    "name), and sort what comes out of sets."
)


def run(trial: Trial) -> str:
    """A small run with it comes to its end."""
    try:
        spent = budget(trial.first)
    except ContrailError as error:
        raise Failed(str(error)) from error
    return f"{spent['updates']} updates, {spent['wall_seconds']:.1f} s"


def cost(trial: Trial) -> str:
    """Updates and episodes are as many as without it; what it costs besides is counted."""
    own, plain = budget(trial.first), budget(trial.plain)
    for key in ("updates", "episodes"):
        if own[key] > plain[key]:
            raise Failed(
                f"{own[key]} {key} where a run without it has {plain[key]}. Comparisons are of "
                "equal numbers: make no further stages or updates of its own, and play with "
                "context.play, which counts as extra."
            )
    extra = [f"{own[key]} {key.replace('_', ' ')}" for key in ("extra_episodes", "extra_tokens")]
    return f"{own['updates']} of {plain['updates']} updates; {', '.join(extra)}"


def repeat(trial: Trial) -> None:
    """The same run again has the same weights, scores and episodes."""
    found = difference(trial.first, trial.again())
    if found:
        raise Failed(f"{found}. {OWN_GENERATOR} Keep state in self alone, not in the module.")


def state(trial: Trial) -> str:
    """A new instance that has read its state from a checkpoint has the same state."""
    table = trial.plugins.strategies if trial.kind == "strategy" else trial.plugins.objectives
    cls = table[trial.name].value
    kept = False
    for _, path in RunDirectory(trial.first).checkpoints():
        content = _state(path, trial)
        if not content:
            continue
        other = cls(trial.settings)
        try:
            with boundary():
                other.load_state_dict(_state(path, trial))
                again = other.state_dict()
        except Raised as raised:
            raise Skipped(
                f"load_state_dict needs what comes before it ({message_of(raised.error)}); see "
                "resume"
            ) from raised.error
        if place := _unequal(content, again, "state"):
            raise Failed(
                f"{place} is another one after load_state_dict(state_dict()). Keep all of it, as "
                "JSON values and tensors: keys of a dict as texts, tuples and sets as lists."
            )
        with boundary():
            other.load_state_dict(_state(path, trial))
            again = other.state_dict()
        if place := _unequal(content, again, "state"):
            raise Failed(
                f"{place} is another one after a second load_state_dict(), which must replace what "
                "is there, not add to it."
            )
        kept = True
    return "" if kept else "it has none"


def resume(trial: Trial) -> str:
    """A run that is interrupted within a stage, and goes on, ends as if nothing had happened."""
    positions = trial.interruptions()
    for position in positions:
        found = difference(trial.first, trial.resumed(position))
        if found:
            raise Failed(
                f"interrupted after update {position.update} of stage {position.stage + 1}: "
                f"{found}. Let state_dict() return all that is needed, and do not begin anew in "
                "enter(context, resumed=True)."
            )
    if not positions:
        raise Skipped("it makes no updates")
    return f"{len(positions)} interruptions"


def extension(trial: Trial) -> None:
    """A run whose last stage is given further updates ends as if it had had them at once."""
    strategy = trial.plugins.strategies[trial.name].value(trial.settings)
    if strategy.scheduled:
        raise Skipped("scheduled is True: a stage that has ended gets no further updates")
    if strategy.starts_at is None:
        raise Skipped("starts_at is None: a stage that has ended gets no further updates")
    try:
        extended = trial.extended()
    except ConfigError as refusal:
        raise Skipped(refusal.message) from refusal
    found = difference(trial.first, extended)
    if found:
        raise Failed(
            f"with each update of the last stage added to a run that had ended: {found}. If what "
            "it does in a stage depends on stage.updates, say so: scheduled = True."
        )


def evaluated(trial: Trial) -> str:
    """Evaluations of a checkpoint alone, as `contrail eval` makes them, give its row of R."""
    cls = trial.plugins.strategies[trial.name].value
    if cls.evaluating is Strategy.evaluating:
        return "it does not choose the policy"
    rows = range(len(json.loads((trial.first / "result.json").read_text())["R"]))
    for row in rows:
        path = RunDirectory(trial.first).checkpoint(Position(row))
        for name, expected in read_checkpoint(path)["evaluations"][row].items():
            try:
                found = evaluate_policy(str(path), [name], trial.plugins, quiet=True)[name]
            except ContrailError as error:
                raise Failed(
                    f"{error} contrail eval calls evaluating(policy, environment) after "
                    "load_state_dict alone, without begin and enter."
                ) from error
            if found.record() != expected:
                raise Failed(
                    f"{name} in row {row} has other episodes when the checkpoint is evaluated "
                    "again. evaluating(policy, environment) must get by with what load_state_dict "
                    "restores: contrail eval calls no other method before it."
                )
    return f"{len(rows)} rows"


def randomness(trial: Trial) -> None:
    """The random state of random, numpy and torch, which belongs to others, stays as it is."""
    _ = trial.first
    if trial.changed:
        raise Failed(
            f"a run with it changes the global state of {', '.join(trial.changed)}. {OWN_GENERATOR}"
        )


def sharing(trial: Trial) -> str:
    """Before the stage `starts_at`, it does what `sequential` does."""
    strategy = trial.plugins.strategies[trial.name].value(trial.settings)
    start = strategy.starts_at
    if start is None:
        raise Skipped("starts_at is None: comparisons share no stage with other strategies")
    rows = [row for row in (1, 2, 3) if row < start]
    for row in rows:
        if not _same_weights(trial, row):
            raise Failed(
                f"starts_at is {start:g}, and the weights after stage {row} are not those of "
                "`sequential`. A comparison would take one for the other: set starts_at to the "
                "first stage in which it acts, or to None."
            )
    return f"stages {', '.join(map(str, rows))}" if rows else "it begins with the first stage"


def effect(trial: Trial) -> str:
    """It changes what is learnt."""
    made = budget(trial.first)["updates"]
    if not made:
        return "it makes no updates"
    if trial.kind == "objective":
        if weights_at(trial.first, 0) == weights_at(trial.first, 3):
            raise Warned("nothing was learnt in the small run: no episode had a weight.")
        return ""
    strategy = trial.plugins.strategies[trial.name].value(trial.settings)
    if strategy.starts_at == math.inf:
        return "it never differs from sequential"
    if all(_same_weights(trial, row) for row in (1, 2, 3)):
        raise Warned("the weights of the small run are those of `sequential` after every stage.")
    return ""


def hooks(trial: Trial) -> str:
    """No hook raises, in a run and in one that goes on after an interruption."""
    runs = [trial.first, *(trial.resumed(position) for position in trial.interruptions()[:1])]
    for directory in runs:
        for failure in read_failures(directory):
            if failure.plugin == trial.name:
                raise Failed(f"{failure.hook} raised: {failure.error}")
    named = next(info.hooks for info in trial.plugins.info() if info.name == trial.name)
    return ", ".join(hook.removeprefix("contrail_") for hook in named)


def unchanged(trial: Trial) -> None:
    """A run has the same weights, scores and episodes without it."""
    found = difference(trial.plain, trial.first)
    if found:
        raise Failed(f"{found}. Change nothing that a hook is given, and draw from no generator.")


def _same_weights(trial: Trial, row: int) -> bool:
    return weights_at(trial.plain, row) == weights_at(trial.first, row)


def _state(checkpoint: Path, trial: Trial) -> Any:
    """Return the state of the strategy or the objective in a checkpoint, as it is restored."""
    from contrail.runs.state import join, load_tensors

    content = read_checkpoint(checkpoint)
    if trial.kind == "strategy":
        found = content["strategy"].get(trial.name)
    else:
        found = content.get("learner", {}).get("objective")
    return join(found, load_tensors(checkpoint))


def _unequal(one: Any, other: Any, place: str) -> str | None:
    """Return where two states differ; None if they are equal."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return None if torch.equal(one, other.detach().cpu()) else place
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return place
        pairs = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return place
        pairs = [(index, *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if type(one) is type(other) and one == other else place
    found = (_unequal(mine, its, f"{place}[{key!r}]") for key, mine, its in pairs)
    return next((item for item in found if item), None)
