"""Metrics of an episode: how often an action is repeated, and what an environment counts."""

import contrail


def repeated(episode):
    actions = [turn.action for turn in episode.turns if turn.action is not None]
    return len(actions) - len(set(actions))


@contrail.hookimpl
def contrail_metrics(register):
    register(contrail.EpisodeMetric("repeated", repeated, "actions taken before", format=".1f"))
    register(contrail.EpisodeMetric("left", lambda episode: episode.info.get("left"), unit="steps"))
