"""Log-probabilities of the decisions of episodes, in one forward and with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from contrail.engine.decide import choice_logprobs
from contrail.episode import Turn
from contrail.model.attention import Packed, forward
from contrail.model.head import Head
from contrail.model.tree import ROOT, ForwardPlan, TokenTree
from contrail.training.scorer import DecisionScores, TurnSpan
from contrail.training.shared.prefix import SharedPrefix


@dataclass
class _ScoredTurn:
    """A turn to score."""

    turn: Turn
    """The turn."""
    placement: int
    """The index of its context's placement."""
    branches: list[int]
    """The placement's branches that are the turn's candidates, or its text."""


class Forest:
    """Episodes as token trees: common beginnings are in them once.

    Args:
        tree: numbers the nodes.
        prefix: the common prefix, if it is computed already.

    Attributes:
        plan: the nodes to compute.
    """

    def __init__(self, tree: TokenTree, prefix: SharedPrefix | None = None) -> None:
        self.plan = ForwardPlan(tree, prefix.nodes if prefix else ())
        self._prefix = prefix
        # By placement and branch: the rows that predict its tokens, and the tokens.
        self._predicting_rows: list[list[list[int]]] = []
        self._ids: list[list[list[int]]] = []
        self._scored_turns: list[list[_ScoredTurn]] = []  # by part

    def add(self, parts: Sequence[TurnSpan]) -> None:
        """Add parts of episodes; add parts that begin alike together."""
        paths: list[list[int]] = [[] for _ in parts]
        nodes = [ROOT for _ in parts]
        scored_turns: list[list[_ScoredTurn]] = [[] for _ in parts]
        first = [part.first for part in parts]
        for depth in range(min(first), max(part.end for part in parts)):
            # Equal contexts grow once, with the branches of all.
            alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
            for index, part in enumerate(parts):
                if first[index] <= depth < part.end:
                    turns = part.episode.turns
                    if depth == first[index] or turns[depth].restart:
                        paths[index], nodes[index], before = [], ROOT, []
                    else:
                        before = [turns[depth - 1].written[-1]]
                    new = (*before, *turns[depth].prompt)
                    alike.setdefault((nodes[index], new), []).append(index)
            for (node, new), indices in alike.items():
                index_of: dict[tuple[int, ...], int] = {}
                chosen = []
                for index in indices:
                    turn = parts[index].episode.turns[depth]
                    scored = depth >= parts[index].begin
                    branches = [
                        index_of.setdefault(tuple(branch), len(index_of))
                        for branch in (scored and turn.choices) or [turn.written]
                    ]
                    chosen.append(branches[turn.choice or 0 if scored else 0])
                    if scored:
                        scored_turns[index].append(_ScoredTurn(turn, len(self._ids), branches))
                ids = [list(branch) for branch in index_of]
                path = paths[indices[0]]
                placement = self.plan.add(node, path, new, ids)
                self._ids.append(ids)
                self._predicting_rows.append(placement.predicting_rows)
                for index, branch in zip(indices, chosen, strict=True):
                    paths[index] = path + placement.rows + placement.branch_rows[branch]
                    nodes[index] = placement.branch_leaves[branch]
        self._scored_turns.extend(scored_turns)

    def score(
        self,
        model: PreTrainedModel,
        temperature: float,
        token_entropies: bool = False,
        head: Head | None = None,
        distributions: bool = False,
    ) -> list[DecisionScores]:
        """Score all parts, in the order in which they were added.

        Args:
            model: as the policy acts or learns; gradients flow if they are enabled.
            temperature: of the distribution that sampled.
            token_entropies: whether entropies of free text are wanted; they cost a pass over the
                vocabulary, and are 0 otherwise.
            head: the model's, if it is one that can be run apart.
            distributions: whether `DecisionScores.distributions` are wanted; those of tokens hold
                the whole vocabulary in memory.
        """
        device = model.device
        rows: list[int] = []
        wanted: list[int] = []
        spans: list[list[slice]] = []  # by placement and branch, of `rows`
        scored = {
            scored_turn.placement
            for scored_turns in self._scored_turns
            for scored_turn in scored_turns
        }
        for number, (branches, ids) in enumerate(
            zip(self._predicting_rows, self._ids, strict=True)
        ):
            spans.append([])
            for predicting_rows, tokens in zip(branches, ids, strict=True):
                spans[-1].append(slice(len(rows), len(rows) + len(tokens)))
                if number in scored:
                    rows.extend(predicting_rows)
                    wanted.extend(tokens)
        kept, row_of = torch.tensor(rows, device=device).unique(return_inverse=True)
        tokens_of = torch.tensor(self.plan.tokens(), device=device)
        positions = torch.from_numpy(self.plan.positions()).to(device)
        layout = Packed(self.plan, device, self._prefix.keys if self._prefix else None)
        texts = any(
            scored_turn.turn.choices is None
            for scored_turns in self._scored_turns
            for scored_turn in scored_turns
        )
        ids_wanted = torch.tensor(wanted, device=device)
        if head is not None and not (texts and (token_entropies or distributions)):
            with head.bypassed():
                hidden = forward(model, tokens_of, positions, kept, layout)
            plain = head.logprobs(hidden, row_of, ids_wanted, 1.0)
            tempered, entropies = plain, torch.zeros_like(plain)
            if texts and temperature != 1.0:
                tempered = head.logprobs(hidden, row_of, ids_wanted, temperature)
        else:
            logits = forward(model, tokens_of, positions, kept, layout).float()
            plain = logits[row_of, ids_wanted] - logits.logsumexp(-1)[row_of]
            soft = (logits / temperature).log_softmax(-1)
            tempered = soft[row_of, ids_wanted]
            entropies = -(soft.exp() * soft).sum(-1)[row_of]
        made = []
        for scored_turns in self._scored_turns:
            parts, uncertain = [], []
            every: list[torch.Tensor] = []
            for scored_turn in scored_turns:
                of_placement = spans[scored_turn.placement]
                if scored_turn.turn.choices is None:
                    span = of_placement[scored_turn.branches[0]]
                    parts.append(tempered[span])
                    uncertain.append(entropies[span])
                    if distributions:
                        every.extend(soft[row_of[span]])
                else:
                    assert scored_turn.turn.choice is not None
                    means = torch.stack(
                        [plain[of_placement[b]].mean() for b in scored_turn.branches]
                    )
                    choice = choice_logprobs(means, temperature)
                    parts.append(choice[scored_turn.turn.choice : scored_turn.turn.choice + 1])
                    uncertain.append(-(choice.exp() * choice).sum().unsqueeze(0))
                    if distributions:
                        every.append(choice)
            made.append(DecisionScores(torch.cat(parts), torch.cat(uncertain), every))
        return made
