"""What the loop and the learner ask of an objective: an error carries the objective's name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from contrail.episode import Episode
from contrail.errors import ContrailError, PluginError, boundary, describe_error
from contrail.values import as_number, as_whole, shown

if TYPE_CHECKING:
    import torch

    from contrail.environment import Task
    from contrail.training.learner import Learner
    from contrail.training.objective import Groups, Objective, Play


def ask(objective: Objective, method: str, *arguments: Any) -> Any:
    """Call a method of an objective.

    Raises:
        PluginError: it raised. An error for humans stays as it is, and so does one of contrail's
            own objectives, which is no plugin's.
    """

    def blame(error: BaseException) -> Exception:
        if isinstance(error, ContrailError):
            return error
        return _error(objective, method, describe_error(error))

    if _ships(objective):
        return getattr(objective, method)(*arguments)
    with boundary(blame):
        return getattr(objective, method)(*arguments)


def rate_of(objective: Objective) -> float | None:
    """Return `Objective.learning_rate`.

    Raises:
        PluginError: it is neither None nor a number of at least 0.
    """
    rate = objective.learning_rate
    if rate is None:
        return None
    try:
        found = math.nan if isinstance(rate, bool) else as_number(rate, "learning_rate")
    except TypeError:
        found = math.nan
    if not 0 <= found < math.inf:
        wanted = "a number of at least 0, or None for grpo.learning_rate"
        raise _error(objective, "learning_rate", f"{shown(rate)}, where it must be {wanted}")
    return found


def samples_of(objective: Objective, learner: Learner) -> int:
    """Return `Objective.samples`.

    Raises:
        PluginError: it is no divisor of the number of episodes of an update.
    """
    found = ask(objective, "samples", learner)
    try:
        count = as_whole(found, "samples")
    except TypeError:
        count = 0
    if count < 1 or learner.batch_size % count:
        wanted = f"a divisor of grpo.generation_batch_size, which is {learner.batch_size}"
        raise _error(objective, "samples", f"{shown(found)}, where it must return {wanted}")
    return count


def episodes_of(
    objective: Objective, learner: Learner, tasks: Sequence[Task], play: Play
) -> list[list[Episode]]:
    """Return `Objective.episodes`.

    Raises:
        PluginError: they are not in lists, there is none, or there are more than an update has.
    """
    found = ask(objective, "episodes", learner, tasks, play)
    groups = (list, tuple)
    if not isinstance(found, groups) or not all(isinstance(group, groups) for group in found):
        wanted = "a list of groups, each a list of contrail.Episode"
        raise _error(objective, "episodes", f"{shown(found)}, where it must return {wanted}")
    episodes = [episode for group in found for episode in group]
    if not all(isinstance(episode, Episode) for episode in episodes):
        raise _error(objective, "episodes", "not all that it returned are of contrail.Episode")
    # Fewer are right where an objective has nothing to learn from in some of the tasks.
    played = sum(not episode.demonstrated for episode in episodes)
    if not episodes or played > learner.batch_size:
        wanted = f"grpo.generation_batch_size is {learner.batch_size}, and all objectives train on"
        raise _error(
            objective, "episodes", f"it returned {played} played episodes; {wanted} as many"
        )
    return [list(group) for group in found]


def refuse_unasked(objective: Objective, learner: Learner, asked: set[str]) -> None:
    """Refuse an objective that leaves out what strategies add to advantages and losses.

    One that wraps another may rightly have learnt from its own episodes alone.

    Args:
        objective: that has learnt something.
        learner: that has made the update.
        asked: what the objective has taken of the learner in the stage: "bonus", "reference".

    Raises:
        PluginError: it says that it has advantages, and leaves out one of the two.
    """
    if _ships(objective) or hasattr(objective, "wrapped") or not objective.has_advantages:
        return
    otherwise = "Or set has_advantages = False, which says that strategies cannot act on it."
    if learner.strategy_bonus is not None and "bonus" not in asked:
        what = "it does not add learner.bonus(groups) to its advantages, so a strategy of this"
        raise _error(objective, "weights", f"{what} run would do nothing. Add it. {otherwise}")
    if learner.beta != 0.0 and "reference" not in asked:
        what = "it asks for no learner.reference(batch.episodes), so the KL term of grpo.beta or of"
        how = "Return it, and add learner.beta times the divergence from it to the loss."
        raise _error(
            objective, "reference", f"{what} a strategy would do nothing. {how} {otherwise}"
        )


def weights_of(
    objective: Objective,
    learner: Learner,
    groups: Groups,
    minibatches: Sequence[Sequence[int]],
) -> list[torch.Tensor]:
    """Return `Objective.weights`.

    Raises:
        PluginError: they are not one finite tensor per minibatch, (episodes,) or (episodes,
            longest).
    """
    found = ask(objective, "weights", learner, groups, minibatches)
    if not hasattr(found, "__iter__") or hasattr(found, "shape"):
        wanted = "a list with a tensor for each minibatch"
        raise _error(objective, "weights", f"{_shown(found)}, where it must return {wanted}")
    found = list(found)
    if len(found) != len(minibatches):
        wanted = f"{len(found)} tensors for {len(minibatches)} minibatches; return one for each"
        raise _error(objective, "weights", wanted)
    episodes = [episode for group in groups for episode in group]
    for own, indices in zip(found, minibatches, strict=True):
        _check_weights(objective, own, [episodes[index] for index in indices])
    return found


def loss_of(objective: Objective, *arguments: Any) -> torch.Tensor:
    """Return `Objective.loss`.

    Raises:
        PluginError: it is no finite number with a gradient.
    """
    import torch

    found = ask(objective, "loss", *arguments)
    if not isinstance(found, torch.Tensor) or found.shape != () or not found.requires_grad:
        constant = isinstance(found, torch.Tensor) and not found.requires_grad
        what = _shown(found) + " without a gradient" * constant
        wanted = "a tensor of shape () that depends on `decisions`"
        raise _error(objective, "loss", f"{what}, where it must return {wanted}")
    if not _ships(objective) and not bool(found.detach().isfinite()):
        raise _error(objective, "loss", f"it is {float(found.detach()):g}, which is not finite")
    return found


def _check_weights(objective: Objective, found: object, episodes: Sequence[Episode]) -> None:
    import torch

    longest = max((len(episode.logprobs) for episode in episodes), default=0)
    shapes = [(len(episodes),), (len(episodes), longest)]
    if not isinstance(found, torch.Tensor) or tuple(found.shape) not in shapes:
        wanted = f"a tensor of shape {shapes[0]} or {shapes[1]}: (episodes,) or (episodes, longest)"
        raise _error(objective, "weights", f"{_shown(found)}, where it must return {wanted}")
    if not bool(found.isfinite().all()):
        raise _error(objective, "weights", "not all are finite")


def _ships(objective: Objective) -> bool:
    """Return whether it is one of contrail's own objectives."""
    return type(objective).__module__.startswith("contrail.")


def _shown(value: object) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{value!r:.80}"


def _error(objective: Objective, method: str, what: str) -> PluginError:
    return PluginError(f"objective {type(objective).__name__}: {method}: {what}")
