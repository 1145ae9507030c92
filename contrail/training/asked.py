"""What the loop and the learner ask of an objective: an error carries the objective's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from contrail.episode import Episode
from contrail.errors import ContrailError, PluginError, boundary, describe_error

if TYPE_CHECKING:
    import torch

    from contrail.training.learner import Learner
    from contrail.training.objective import Groups, Objective


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

    if type(objective).__module__.startswith("contrail."):
        return getattr(objective, method)(*arguments)
    with boundary(blame):
        return getattr(objective, method)(*arguments)


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
    found = list(ask(objective, "weights", learner, groups, minibatches))
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
        PluginError: it is no number with a gradient.
    """
    import torch

    found = ask(objective, "loss", *arguments)
    if not isinstance(found, torch.Tensor) or found.shape != () or not found.requires_grad:
        constant = isinstance(found, torch.Tensor) and not found.requires_grad
        shown = _shown(found) + " without a gradient" * constant
        wanted = "a tensor of shape () that depends on `decisions`"
        raise _error(objective, "loss", f"{shown}, where it must return {wanted}")
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


def _shown(value: object) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{value!r:.80}"


def _error(objective: Objective, method: str, what: str) -> PluginError:
    return PluginError(f"objective {type(objective).__name__}: {method}: {what}")
