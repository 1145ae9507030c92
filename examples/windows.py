"""Adapters that look at the episode: actions listed once, turn 3 of 10, examples, a window."""

import contrail

EXAMPLES = {
    "guess-number": "10? Lower. 5? Lower. 3? Right.",
    "textcraft": "craft 4 oak planks using 1 oak log, then craft 1 crafting table using ...",
}


class Once(contrail.Adapter):
    """The actions are listed in the first turn only."""

    def render(self, observation, episode):
        listed = f"\nYou can: {', '.join(observation.actions)}" if episode.turn == 0 else ""
        return observation.text + listed

    def parse(self, text, observation):
        return text.strip()


class Counted(Once):
    """The model reads how much time it has."""

    def render(self, observation, episode):
        return f"Turn {episode.turn + 1} of {episode.max_turns}. {observation.text}"


class FewShot(Once):
    """The system message has an example of a good play, chosen by the task."""

    def system(self, environment, task):
        return f"{environment.system_prompt}\nExample: {EXAMPLES[task.environment]}"


class Window(Once):
    """Each turn is a conversation of its own, which begins with the last two exchanges."""

    single_turn = True

    def render(self, observation, episode):
        before = [f"{past.seen.text}\n> {past.text}" for past in episode.history[-2:]]
        return "\n".join([*before, observation.text])


@contrail.hookimpl
def contrail_adapters(register):
    for adapter in (Once, Counted, FewShot, Window):
        register(adapter.__name__.lower(), adapter)
