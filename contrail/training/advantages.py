"""Statistics of an update's groups of episodes: advantages, and scalars to log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy

from contrail.episode import Episode


def group_advantages(groups: Sequence[Sequence[Episode]], scale: str) -> list[float]:
    """Return the advantage of each episode, group after group.

    Reward minus the group's mean (GRPO, arXiv:2402.03300), divided by the standard deviation (plus
    1e-4, as TRL does) of its group or of the whole batch, or not at all.

    Args:
        groups: episodes that played the same task.
        scale: TRL's `scale_rewards`: "group", "batch" or "none".
    """
    rewards = [numpy.array([episode.reward for episode in group]) for group in groups]
    everywhere = numpy.concatenate(rewards)
    advantages: list[float] = []
    for values in rewards:
        # The mean of equal numbers need not be that number, and Adam makes much of little.
        centred = values - values.mean() if numpy.ptp(values) else numpy.zeros_like(values)
        if scale == "group":
            centred = centred / (values.std(ddof=1) + 1e-4)
        elif scale == "batch":
            centred = centred / (everywhere.std(ddof=1) + 1e-4)
        advantages.extend(centred.tolist())
    return advantages


def environment_weights(episodes: Sequence[Episode]) -> list[float]:
    """Return the factor of each episode's advantage with which environments count by their
    episodes.

    A loss that sums over decisions gives an environment with long answers more weight than one with
    as many episodes and short answers. With these factors (the mean number of decisions of all
    episodes, divided by that of the episode's environment) its weight is its share of the episodes.
    """
    decisions: dict[str, int] = {}
    counts = Counter(episode.environment for episode in episodes)
    if len(counts) < 2:
        return [1.0] * len(episodes)
    for episode in episodes:
        name = episode.environment
        decisions[name] = decisions.get(name, 0) + len(episode.logprobs)
    mean = sum(decisions.values()) / len(episodes)
    return [
        mean * counts[episode.environment] / decisions[episode.environment] for episode in episodes
    ]


def group_scalars(groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """Return scalars of the episodes of one update, beside the metrics of an episode."""
    episodes = [episode for group in groups for episode in group]
    if not episodes:
        return {"episodes": 0.0}
    played = [episode for episode in episodes if not episode.demonstrated]
    entropies = [value for episode in played for value in episode.entropies]
    equal = [len({episode.reward for episode in group}) == 1 for group in groups if len(group) > 1]
    scalars = {"episodes": float(len(episodes))}
    if entropies:
        scalars["policy_entropy"] = float(numpy.mean(entropies))
    if equal:
        scalars["zero_variance_groups"] = float(numpy.mean(equal))
    if len(played) < len(episodes):
        shown = [episode for episode in episodes if episode.demonstrated]
        scalars["failed_demonstrations"] = float(numpy.mean([not item.success for item in shown]))
    decisions = sum(len(episode.logprobs) for episode in episodes)
    for name in dict.fromkeys(episode.environment for episode in episodes):
        own = [episode for episode in episodes if episode.environment == name]
        scalars[f"share_of_episodes/{name}"] = len(own) / len(episodes)
        scalars[f"share_of_decisions/{name}"] = sum(len(e.logprobs) for e in own) / decisions
    return scalars
