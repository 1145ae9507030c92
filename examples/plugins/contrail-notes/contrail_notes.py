"""The adapter `notes`: each turn the model sees its own note and the observation, nothing else.

The model writes `Note: ... Action: ...`; the note is all that it will remember. So the context
stays as short as one turn however long the episode is, and what is worth remembering has to be
learnt.
"""

import re
from dataclasses import dataclass, field

import contrail

ANSWER = re.compile(r"note:(?P<note>.*?)^\s*action:(?P<action>[^\n]*)", re.DOTALL | re.I | re.M)
INSTRUCTION = """\
You see one message at a time, and remember nothing but your last note. Answer in this form:
Note: all that you will need later
Action: one action"""


@dataclass
class NotesConfig:
    """The keys of notes in stream.yaml."""

    longest: int = field(default=300, metadata={"min": 1})
    """The largest number of characters of a note that are kept."""
    max_new_tokens: int = field(default=64, metadata={"min": 1})
    """The largest number of tokens of an answer."""


class Notes(contrail.Adapter):
    """The model remembers what it writes into a note, and nothing else."""

    Config = NotesConfig
    single_turn = True

    @property
    def max_new_tokens(self):
        return self.config.max_new_tokens

    def system(self, environment):
        return f"{environment.system_prompt}\n\n{INSTRUCTION}".strip()

    def render(self, observation, episode):
        lines = [f"Turns left: {episode.turns_left}."]
        # The first observation has the goal, which no note could bring back.
        if episode.history:
            lines = [f"At first: {episode.first.text}", f"Your note: {self.note(episode)}", *lines]
        lines.append(observation.text)
        if observation.actions:
            lines.append(f"Available actions: {', '.join(observation.actions)}")
        return "\n".join(lines)

    def note(self, episode):
        """The last note that the model has written; an answer without one keeps it."""
        found = (ANSWER.search(past.text) for past in reversed(episode.history))
        note = next((match["note"] for match in found if match), "").strip()
        return note[: self.config.longest] or "nothing"

    def answer(self, action):
        return f"Note:\nAction: {action}"

    def parse(self, text, observation):
        match = ANSWER.search(text[:10_000])
        if match is None:
            raise contrail.InvalidAction("Write a line `Note: …`, then a line `Action: …`.")
        action = contrail.read_action(match["action"], observation.actions or ())
        if not action:
            raise contrail.InvalidAction("The action is empty. Write one after `Action:`.")
        return action


@contrail.hookimpl
def contrail_adapters(register):
    register("notes", Notes)
