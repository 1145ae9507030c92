"""The fast scorer: token trees and packs, in which common beginnings are computed once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from contrail.episode import Episode
from contrail.model.hidden_states import HiddenStates
from contrail.model.policy import Policy
from contrail.model.tree import TokenTree
from contrail.training.scorer import DecisionScores, Slice
from contrail.training.shared.forest import Forest
from contrail.training.shared.packs import Pack, into_packs, tokens_at_once
from contrail.training.shared.prefix import SharedPrefix


class TreeScorer:
    """See `contrail.training.scorer.Scorer`. For models that pass `contrail.training.verify`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._at_once = tokens_at_once(policy.base)
        self.computed_tokens = 0

    def split(self, episodes: Sequence[Episode], indices: Sequence[int]) -> Sequence[Slice]:
        """See `Scorer`."""
        return list(into_packs(episodes, indices, self._at_once))

    def score(
        self,
        model: PreTrainedModel,
        slices: Sequence[Slice],
        temperature: float,
        *,
        entropies: bool = False,
        kept: bool = False,
        distributions: bool = False,
    ) -> Iterator[tuple[Slice, list[DecisionScores]]]:
        """See `Scorer`. A shared prefix's gradients are complete after the last of its packs."""
        hidden_states = self._policy.kept if kept else None
        tree = TokenTree() if hidden_states is None else hidden_states.tree
        head = self._policy.head
        packs = [one for one in slices if isinstance(one, Pack)]
        assert len(packs) == len(slices), "slices of another scorer"
        for tokens, alike in itertools.groupby(packs, key=lambda pack: pack.prefix):
            prefix, partial = None, False
            if tokens:
                prefix = SharedPrefix(tree, tokens)
                self.computed_tokens += prefix.plan.size
                with self._known(prefix.nodes, hidden_states) as partial:
                    prefix.compute(model, head)
            for pack in alike:
                forest = pack.forest(tree, prefix)
                with self._known(forest.plan.nodes(), hidden_states) as known:
                    if partial and not known:  # it needs keys of the frozen layers, too
                        forest = pack.forest(tree)
                    scores = forest.score(model, temperature, entropies, head, distributions)
                self.computed_tokens += forest.plan.size
                yield pack, scores
            if prefix is not None:
                prefix.backward()

    def distributions(
        self,
        model: PreTrainedModel,
        episodes: Sequence[Episode],
        temperature: float,
        kept: HiddenStates | None = None,
    ) -> Iterator[list[torch.Tensor]]:
        """See `Scorer`."""
        for episode in episodes:
            for pack in into_packs([episode], [0], self._at_once):
                for part in pack.parts:
                    forest = Forest(TokenTree() if kept is None else kept.tree)
                    forest.add([part])
                    self.computed_tokens += forest.plan.size
                    with self._kept(forest.plan.nodes(), kept):
                        [scores] = forest.score(
                            model, temperature, head=self._policy.head, distributions=True
                        )
                    yield scores.distributions

    @contextmanager
    def _kept(self, nodes: Sequence[int], hidden_states: HiddenStates | None) -> Iterator[None]:
        """Context manager: as `_known`; what is not known is kept."""
        frozen = self._policy.frozen
        with self._known(nodes, hidden_states) as known:
            if known or hidden_states is None or frozen is None:
                yield
                return
            with frozen.recorded() as record:
                yield
            hidden_states.put(nodes, record[0])

    @contextmanager
    def _known(self, nodes: Sequence[int], hidden_states: HiddenStates | None) -> Iterator[bool]:
        """Context manager: forwards begin with the first trained layer, if its input is known."""
        frozen = self._policy.frozen
        known = None if hidden_states is None or frozen is None else hidden_states.get(nodes)
        if frozen is None or known is None:
            yield False
        else:
            with frozen.replaced(known):
                yield True
