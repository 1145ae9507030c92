"""The keys of grpo: each of them acts, in the loss, the optimizer or the schedule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from learning import VARIED, Make, groups, rewarded

from contrail.config import GRPOSettings
from contrail.plugins.adapters.choose import Choose
from contrail.seeding import generator

import torch  # isort: skip
from learning import config, disturb, parameters  # isort: skip
from contrail.training.learner import Learner  # isort: skip

ADAPTIVE = {"use_adaptive_entropy": True, "entropy_coef": 0.5, "entropy_target": 9.0}

# For each key another value, and the keys without which it does nothing.
OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "num_generations": (2, {}),
    "generation_batch_size": (16, {}),
    "steps_per_generation": (4, {}),
    "learning_rate": (2e-2, {}),
    "lr_scheduler_type": ("linear", {}),
    "lr_scheduler_kwargs": ({"num_cycles": 3}, {"lr_scheduler_type": "cosine_with_restarts"}),
    "warmup_steps": (3.0, {"lr_scheduler_type": "linear"}),
    "optim": ("sgd", {}),
    "optim_args": ("momentum=0.9", {"optim": "sgd"}),
    "adam_beta1": (0.5, {}),
    "adam_beta2": (0.5, {}),
    "adam_epsilon": (0.1, {}),
    "weight_decay": (0.5, {}),
    "max_grad_norm": (1e-3, {"optim": "sgd"}),
    "loss_type": ("grpo", {}),
    "temperature": (0.5, {}),
    "num_iterations": (2, {}),
    "scale_rewards": ("none", {"optim": "sgd"}),
    "importance_sampling_level": ("sequence", {}),
    "epsilon": (0.001, {}),
    "epsilon_high": (0.001, {}),
    "delta": (0.5, {}),
    "off_policy_mask_threshold": (1e-6, {}),
    "beta": (0.5, {}),
    "use_bias_correction_kl": (False, {"beta": 0.5}),
    "top_entropy_quantile": (0.5, {}),
    "entropy_coef": (0.5, {}),
    "use_adaptive_entropy": (True, {"entropy_coef": 0.5}),
    "entropy_coef_min": (0.4, {**ADAPTIVE, "entropy_target": 0.0, "entropy_coef_delta": 0.2}),
    "entropy_coef_max": (0.6, {**ADAPTIVE, "entropy_coef_delta": 0.2}),
    "entropy_coef_delta": (0.2, ADAPTIVE),
    "entropy_target": (0.0, ADAPTIVE),
    "sapo_temperature_neg": (3.0, {"loss_type": "sapo"}),
    "sapo_temperature_pos": (3.0, {"loss_type": "sapo"}),
    "vespo_k_pos": (1.0, {"loss_type": "vespo"}),
    "vespo_lambda_pos": (1.0, {"loss_type": "vespo"}),
    "vespo_k_neg": (1.0, {"loss_type": "vespo"}),
    "vespo_lambda_neg": (1.0, {"loss_type": "vespo"}),
}
STRUCTURE = ("num_generations", "generation_batch_size")  # of what is played, not of an update


def test_every_key_is_tried() -> None:
    fixed = {"router_aux_loss_coef"}  # 0 is its one value
    assert set(OTHER) | fixed == {item.name for item in dataclasses.fields(GRPOSettings)}


@pytest.mark.parametrize("name", [name for name in OTHER if name not in STRUCTURE])
def test_a_key_acts(make_tiny: Make, tmp_path: Path, name: str) -> None:
    value, context = OTHER[name]

    def learnt(**values: Any) -> dict[str, torch.Tensor]:
        policy = make_tiny()
        grouped = groups(policy, Choose())
        rewarded(grouped, VARIED)
        disturb([episode for group in grouped for episode in group])
        learner = Learner(policy, config(tmp_path, **{"steps_per_generation": 2, **values}))
        learner.begin(2)
        logged = {}
        for update in range(2):
            # A weight of the entropy that has come down acts again when the entropy has, too.
            weight = learner.update(grouped, generator(update)).get("entropy_coef", 0.0)
            logged[f"entropy_coef {update}"] = torch.tensor(weight)
        return {**parameters(policy), **logged}

    without, with_it = learnt(**context), learnt(**{**context, name: value})
    assert any(not torch.equal(without[item], with_it[item]) for item in without)


def test_the_numbers_of_episodes_act(make_tiny: Make, tmp_path: Path) -> None:
    learner = Learner(
        make_tiny(),
        config(
            tmp_path, generation_batch_size=16, per_device_train_batch_size=16, num_generations=2
        ),
    )
    assert (learner.batch_size, learner.group_size) == (16, 2)
