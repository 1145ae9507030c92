"""Decisions of a batch of episodes, and the packs in which they are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from contrail.episode import Episode, Turn
from contrail.model.tree import TokenTree, common_prefix_length
from contrail.training.shared.forest import DecisionScores, Forest, TurnSpan
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
class Decisions:
    """Decisions of a batch, padded: (episodes, longest)."""

    logprobs: torch.Tensor
    entropies: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, episodes: Sequence[Episode], device: torch.device) -> Decisions:
        """As recorded in the rollout."""

        def padded(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> torch.Tensor:
            tensors = [torch.tensor(row, dtype=dtype) for row in rows]
            return pad_sequence(tensors, batch_first=True).to(device)

        logprobs = [episode.logprobs for episode in episodes]
        return cls(
            padded(logprobs, torch.float32),
            padded([episode.entropies for episode in episodes], torch.float32),
            padded([[1.0] * len(row) for row in logprobs], torch.long),
        )

    def detached(self) -> Decisions:
        """The same as constants."""
        return Decisions(self.logprobs.detach(), self.entropies.detach(), self.mask)

    def replaced(self, pack: Pack, scores: Sequence[DecisionScores], entropies: bool) -> Decisions:
        """The same, but for the pack's decisions, which are as scored."""
        rows: list[int] = []
        columns: list[int] = []
        for row, part, score in zip(pack.rows, pack.parts, scores, strict=True):
            first = sum(len(turn.logprobs) for turn in part.episode.turns[: part.begin])
            rows.extend([row] * len(score.logprobs))
            columns.extend(range(first, first + len(score.logprobs)))
        place = (torch.tensor(rows), torch.tensor(columns))

        def put(old: torch.Tensor, new: list[torch.Tensor]) -> torch.Tensor:
            return old.index_put([index.to(old.device) for index in place], torch.cat(new))

        return Decisions(
            put(self.logprobs, [score.logprobs for score in scores]),
            put(self.entropies, [score.entropies for score in scores])
            if entropies
            else self.entropies,
            self.mask,
        )


@dataclass
class Pack:
    """What is scored in one forward and backward pass: parts of episodes.

    `rows[i]`: the place of part i's episode in the batch. `stem`: tokens with which they and other
    packs begin, if that is worth computing once.
    """

    rows: list[int]
    parts: list[TurnSpan]
    stem: tuple[int, ...] = ()

    @property
    def splits(self) -> bool:
        """Whether some of an episode's decisions are missing."""
        return any(part.begin > 0 or part.end < len(part.episode.turns) for part in self.parts)

    def forest(self, tree: TokenTree, stem: SharedPrefix | None = None) -> Forest:
        """The parts as a forest whose nodes are those of the tree."""
        forest = Forest(tree, stem)
        forest.add(self.parts)
        return forest


def split(
    episodes: Sequence[Episode], indices: Sequence[int], most: int | None = None
) -> Iterator[Pack]:
    """Split episodes into packs of at most about `most` tokens, by default MAX_TOKENS.

    Episodes of a task begin alike: they are in one pack, or, if that is too small for them, in
    several of their own, which follow each other and have a stem.
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
    stem = _common([episodes[index].turns[0].prompt for index in group])
    pack = Pack([], [], stem)
    length = 0
    for index in group:
        for part, size in _parts(episodes[index], most):
            if pack.parts and length + size - len(stem) > most:
                yield pack, length
                pack, length = Pack([], [], stem), 0
            length += size - (len(stem) if pack.parts else 0)
            pack.rows.append(index)
            pack.parts.append(part)
    yield pack, length


def _common(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What all begin with, without the last token, whose output is asked for."""
    first = prompts[0]
    length = min(min(common_prefix_length(first, prompt), len(prompt) - 1) for prompt in prompts)
    return tuple(first[:length])


def _parts(episode: Episode, most: int) -> Iterator[tuple[TurnSpan, int]]:
    """An episode in as few parts as `most` tokens allow, each with the tokens that it needs."""
    begin = context = length = 0
    for number, turn in enumerate(episode.turns):
        size = _nodes(turn)
        if number > begin and context + length + size > most:
            yield TurnSpan(episode, begin, number), context + length
            context += sum(
                len(turn.prompt) + len(turn.written) for turn in episode.turns[begin:number]
            )
            begin, length = number, 0
        length += size
    yield TurnSpan(episode, begin, len(episode.turns)), context + length


def _nodes(turn: Turn) -> int:
    """Tokens of a turn: its prompt, and its branches, whose common beginnings count once."""
    branches = turn.choices or [turn.written]
    stems = {tuple(branch[:end]) for branch in branches for end in range(1, len(branch))}
    return len(turn.prompt) + len(stems)
