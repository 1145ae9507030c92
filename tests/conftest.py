"""What all tests share: small policies in fp32, and what spares time."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from configs import complain, read  # noqa: F401  (fixtures)
from rooms import train

# Several processes run tests side by side: more threads than that would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from contrail.comparison.processes import Workers
    from contrail.model.policy import Policy


def pytest_collection_finish() -> None:
    """Leave what the libraries have made out of every later collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _quick_disk() -> Iterator[None]:
    """What is written reaches the disk when it may: only a power cut would tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """A fork server of comparisons, whose start takes seconds: one for all tests. It is no fork of
    this process, whose torch may have threads that a fork does not have."""
    from contrail.comparison.processes import Workers

    with Workers() as workers:
        yield workers


@pytest.fixture
def quick_comparisons(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons and studies take their processes from that server, and start none."""
    for module in ("contrail.comparison.launch", "contrail.studies.launch"):
        monkeypatch.setattr(f"{module}.Workers", lambda: contextlib.nullcontext(workers))


@pytest.fixture
def few_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks play no further tasks for as long as they have time."""
    monkeypatch.setattr("contrail.check.subject.SECONDS", 0.1)


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Policy]:
    """Makes policies of tiny-random. Its weights are enlarged, so that all it sees matters."""
    from contrail.model.policy import linear_modules, load_base, with_lora
    from contrail.plugins.models.smollm2 import tiny_random

    import torch  # isort: skip
    from peft import LoraConfig  # isort: skip

    torch.set_num_threads(1)
    whole, tokenizer = load_base(str(tiny_random()), dtype="float32", device="cpu")

    def make(
        trained: bool = True,
        max_context: int | None = None,
        dtype: torch.dtype = torch.float32,
        enlarged: float = 8,
        **settings: Any,
    ) -> Policy:
        """With `trained`, the adapter is as far from the start as it may get in a run.

        `settings` go to LoraConfig.
        """
        base = copy.deepcopy(whole)
        with torch.no_grad():
            for parameter in base.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(enlarged)
        base.to(dtype)
        defaults = {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": sorted(linear_modules(base)),
            "task_type": "CAUSAL_LM",
        }
        lora = LoraConfig(**defaults | settings)
        policy = with_lora(base, tokenizer, lora, seed=0, max_context=max_context)
        if trained:
            train(policy, 0.1)
        return policy

    return make
