"""Merging: copies of one adapter are that adapter, however they are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy
import pytest

from contrail.errors import ConfigError
from contrail.model.policy import Policy
from contrail.strategies.merge import Merge, MergeConfig, default_weight, merged

import torch  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from learning import Make, config  # isort: skip

TYPES = get_args(get_type_hints(MergeConfig)["combination_type"])
Deltas = dict[str, torch.Tensor]


def deltas(adapter: dict[str, torch.Tensor]) -> Deltas:
    """What it adds to the weights, but for the scaling."""
    return {
        name: value.double() @ adapter[name.replace("lora_B", "lora_A")].double()
        for name, value in adapter.items()
        if "lora_B" in name
    }


def apart(found: Deltas, expected: Deltas) -> float:
    difference = sum(float((found[name] - expected[name]).square().sum()) for name in expected)
    return (difference / sum(float(item.square().sum()) for item in expected.values())) ** 0.5


def copies(policy: Policy, count: int, seed: int = 0, **settings: Any) -> Deltas:
    made = MergeConfig(**settings)
    weight = default_weight(made.combination_type, made.density, count)
    return deltas(merged(policy, [policy.snapshot()] * count, [weight] * count, made, seed))


@pytest.mark.parametrize("alpha", [4, 8])  # of rank 4: scaling 1 and 2
@pytest.mark.parametrize("kind", TYPES)
def test_copies_merge_to_what_they_are(make_tiny: Make, kind: str, alpha: int) -> None:
    policy = make_tiny(lora_alpha=alpha)
    own = deltas(policy.snapshot())
    for count in (2, 3, 5):
        found = copies(policy, count, combination_type=kind, density=1.0)
        assert apart(found, own) < 1e-3, count


@pytest.mark.parametrize("kind", ["ties", "magnitude_prune"])
@pytest.mark.parametrize("svd", ["", "_svd"])
def test_copies_merge_to_what_is_left_of_them(make_tiny: Make, kind: str, svd: str) -> None:
    """Pruning keeps the larger half: of A and of B, or of their product, then cut to the rank."""
    policy = make_tiny()

    def pruned(tensor: torch.Tensor) -> torch.Tensor:
        kept = (
            tensor.abs() >= tensor.abs().flatten().sort(descending=True)[0][tensor.numel() // 2 - 1]
        )
        assert abs(int(kept.sum()) - tensor.numel() / 2) <= 1
        return tensor * kept

    own = policy.snapshot()
    if svd:
        expected = {}
        for name, delta in deltas(own).items():
            u, s, v = torch.linalg.svd(pruned(delta), full_matrices=False)
            expected[name] = u[:, :4] @ torch.diag(s[:4]) @ v[:4]
    else:
        expected = deltas({name: pruned(value) for name, value in own.items()})
    for count in (2, 5):
        assert apart(copies(policy, count, combination_type=kind + svd), expected) < 2e-2


@pytest.mark.parametrize(("density", "counts"), [(0.3, (5, 2)), (0.7, (2, 5))])
@pytest.mark.parametrize("kind", [name for name in TYPES if name.startswith("dare")])
def test_copies_merge_to_what_they_are_on_average(
    make_tiny: Make, kind: str, density: float, counts: tuple[int, int]
) -> None:
    policy = make_tiny(target_modules=["q_proj"])
    own = deltas(policy.snapshot())
    size = sum(float(item.square().sum()) for item in own.values())
    for count in counts[:1] if kind.endswith("svd") else counts:  # decompositions take long
        parts = []
        for seed in range(24):
            found = copies(policy, count, seed, combination_type=kind, density=density)
            parts.append(sum(float((found[name] * own[name]).sum()) for name in own) / size)
        error = numpy.std(parts, ddof=1) / len(parts) ** 0.5
        # The cut to the rank takes away a little of what DARE has spread over all ranks.
        slack = 0.03 if kind.endswith("svd") else 0.0
        assert abs(numpy.mean(parts) - 1) < 4 * error + slack, (count, numpy.mean(parts))
        assert 4 * error < 0.15


@pytest.mark.parametrize("kind", ["svd", "linear", "ties"])
def test_rank_stabilised_copies_merge_to_what_they_are(make_tiny: Make, kind: str) -> None:
    policy = make_tiny(use_rslora=True)
    found = copies(policy, 2, combination_type=kind, density=1.0)
    assert apart(found, deltas(policy.snapshot())) < 1e-3


def test_one_lora_is_left_as_it_is(make_tiny: Make, tmp_path: Path) -> None:
    assert {default_weight(kind, 0.5, 1) for kind in TYPES} == {1.0}


def test_a_rank_larger_than_the_layer_can_be_merged(make_tiny: Make) -> None:
    small = make_tiny()
    rows = min(min(item.shape) for item in small.base.parameters() if item.dim() == 2)
    policy = make_tiny(r=rows + 8)
    own = policy.snapshot()
    found = merged(policy, [own, own], [0.5, 0.5], MergeConfig(), 0)
    assert apart(deltas(found), deltas(own)) < 1e-3
    policy.load(found)


def test_loras_of_several_ranks_are_refused(make_tiny: Make, tmp_path: Path) -> None:
    trainer = Learner(make_tiny(rank_pattern={"q_proj": 2}), config(tmp_path))
    with pytest.raises(ConfigError, match="rank_pattern"):
        Merge().begin(trainer, [])
