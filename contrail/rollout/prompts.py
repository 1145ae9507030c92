"""What the model sees next: a continuation of its context, or a context of the turn's own."""

from __future__ import annotations

from collections.abc import Sequence

from contrail.adapter import Adapter
from contrail.episode import Turn
from contrail.model.chat import Chat


def next_prompt(
    chat: Chat,
    adapter: Adapter,
    system: str,
    turns: Sequence[Turn],
    context: Sequence[int],
    shown: str,
) -> tuple[list[int], bool]:
    """Return the prompt of the turn after `turns`, and whether it is a restart (see `Turn`).

    Args:
        chat: the model's chat format.
        adapter: of the episode.
        system: its system message.
        turns: at least one.
        context: the tokens that the model has seen and written up to the end of the last turn.
        shown: the new user message.
    """
    if adapter.single_turn:
        return chat.start(system, shown), True
    if chat.drops_thoughts:
        exchanges = [(turn.observation, turn.written) for turn in turns]
        whole = chat.conversation(system, exchanges, shown)
        if whole[: len(context)] != list(context):
            return whole, True
        return whole[len(context) :], False
    return chat.after(turns[-1].written, shown), False
