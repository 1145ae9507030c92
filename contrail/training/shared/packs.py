"""The packs in which the decisions of a batch of episodes are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from contrail.episode import Episode, Turn
from contrail.model.tree import TokenTree, common_prefix_length
from contrail.training.scorer import Slice, TurnSpan
from contrail.training.shared.forest import Forest
from contrail.training.shared.prefix import SharedPrefix

# Tokens whose activations are held at once for a backward pass. With fewer, more beginnings are
# computed again: 1,024 took 10% longer than 2,048, and 1,280 as long, with less memory.
MAX_TOKENS = 1280
# Of a GPU's memory for these activations. A quarter leaves room for weights, keys and logits.
SHARE = 0.25


def tokens_at_once(model: PreTrainedModel) -> int | None:
    """Tokens of a pack on a GPU, where few large packs keep it busy; None on a CPU.

    A layer keeps about 16 hidden states and 3.5 intermediate ones of each token. (Measured: 1.5 MB
    a token for the shape of Qwen2.5-0.5B in bfloat16, 3.1 MB for that of 1.5B.)
    """
    if model.device.type != "cuda":
        return None
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    values = config.num_hidden_layers * (16 * config.hidden_size + 3.5 * inner)
    memory = torch.cuda.get_device_properties(model.device).total_memory
    return max(MAX_TOKENS, int(SHARE * memory / (values * model.dtype.itemsize)))


@dataclass
class Pack(Slice):
    """A slice of the fast scorer.

    `prefix`: the tokens with which its parts and other packs begin, if these are computed once.
    """

    prefix: tuple[int, ...] = ()

    def forest(self, tree: TokenTree, prefix: SharedPrefix | None = None) -> Forest:
        """Return the parts as a forest whose nodes are those of the tree."""
        forest = Forest(tree, prefix)
        forest.add(self.parts)
        return forest


def into_packs(
    episodes: Sequence[Episode], indices: Sequence[int], most: int | None = None
) -> Iterator[Pack]:
    """Divide episodes into packs of at most about `most` tokens, by default MAX_TOKENS.

    Episodes of a task begin alike: they are in one pack or, if that is too small for them, in
    several packs of their own, which follow each other and have a common prefix.
    """
    most = MAX_TOKENS if most is None else most
    alike: dict[tuple[str, str], list[int]] = {}
    for index in indices:
        key = (episodes[index].environment, episodes[index].task.id)
        alike.setdefault(key, []).append(index)
    pack = Pack([], [])
    length = 0
    for group in alike.values():
        own = list(_divide(episodes, group, most))
        sizes = [size for _, size in own]
        if pack.parts and (length + sizes[0] > most or len(own) > 1):
            yield pack
            pack, length = Pack([], []), 0
        if len(own) > 1:
            yield from (each for each, _ in own)
        else:
            pack.rows.extend(own[0][0].rows)
            pack.parts.extend(own[0][0].parts)
            length += sizes[0]
    if pack.parts:
        yield pack


def _divide(
    episodes: Sequence[Episode], group: Sequence[int], most: int
) -> Iterator[tuple[Pack, int]]:
    """Packs of a group alone, each with its number of tokens."""
    prefix = _common(
        [
            turn.prompt
            for index in group
            for number, turn in enumerate(episodes[index].turns)
            if number == 0 or turn.restart
        ]
    )
    pack = Pack([], [], prefix)
    length = 0
    for index in group:
        for part, size in _parts(episodes[index], most):
            if pack.parts and length + size - len(prefix) > most:
                yield pack, length
                pack, length = Pack([], [], prefix), 0
            length += size - (len(prefix) if pack.parts else 0)
            pack.rows.append(index)
            pack.parts.append(part)
    yield pack, length


def _common(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the tokens with which all begin, without the last one, whose output is needed."""
    first = prompts[0]
    length = min(min(common_prefix_length(first, prompt), len(prompt) - 1) for prompt in prompts)
    return tuple(first[:length])


def _parts(episode: Episode, most: int) -> Iterator[tuple[TurnSpan, int]]:
    """Yield an episode in as few parts as `most` tokens allow, each with the tokens that it
    needs.

    A part needs all that comes before it, so the turn that needs most sets how many tokens are held
    at least: with fewer, beginnings would be computed again and no memory saved.
    """
    contexts = []
    context = 0
    for turn in episode.turns:
        contexts.append(0 if turn.restart else context)
        context = contexts[-1] + len(turn.prompt) + len(turn.written)
    sizes = [_nodes(turn) for turn in episode.turns]
    most = max(most, *(context + size for context, size in zip(contexts, sizes, strict=True)))
    begin = context = length = 0
    start = episode.turns[0].prompt
    for number, (turn, size) in enumerate(zip(episode.turns, sizes, strict=True)):
        if turn.restart:  # computes nothing that it has in common with the start before
            more = size - common_prefix_length(start, turn.prompt)
            start = turn.prompt
        else:  # needs the last token written before it, too
            more = size + (number > 0)
        if number > begin and context + length + more > most:
            yield TurnSpan(episode, begin, number), context + length
            begin, context, length, more = number, contexts[number], 0, size
        length += more
    yield TurnSpan(episode, begin, len(episode.turns)), context + length


def _nodes(turn: Turn) -> int:
    """Tokens of a turn: its prompt, and its branches, whose common beginnings count once."""
    branches = turn.choices or [turn.written]
    inner = {tuple(branch[:end]) for branch in branches for end in range(1, len(branch))}
    return len(turn.prompt) + len(inner)
