"""How much memory? Peaks of rollout and update, the masks' share, and what fits."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import contrail.engine.cache
import contrail.model.attention
from benchmarks.gpu.device import OutOfMemory
from benchmarks.gpu.house import play_house
from benchmarks.gpu.models import random_policy
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options
from benchmarks.update import contrail_config, some_advantages
from benchmarks.workload import Settings
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.training.learner import Learner
from contrail.training.objective import Batch

import torch  # isort: skip

PEAKS = "Memory: peaks in GB"
FITS = "Memory: what fits"


class Masks:
    """`peak`: bytes of additive attention masks that were there at the same time, at most."""

    def __init__(self) -> None:
        self.peak = 0
        self._now = 0

    def watched(self, make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Return the function that makes them, counted."""

        def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
            mask = make(*args, **kwargs)
            self._now += mask.nbytes
            self.peak = max(self.peak, self._now)
            weakref.finalize(mask, self._freed, mask.nbytes)
            return mask

        return counted

    def _freed(self, size: int) -> None:
        self._now -= size


@contextmanager
def masks() -> Iterator[Masks]:
    """Context manager: counts contrail's attention masks."""
    found = Masks()
    modules: tuple[Any, ...] = (contrail.model.attention, contrail.engine.cache)
    before = [module.additive for module in modules]
    for module in modules:
        module.additive = found.watched(module.additive)
    try:
        yield found
    finally:
        for module, make in zip(modules, before, strict=True):
            module.additive = make


def peaks(options: Options, sink: Sink) -> None:
    """Of the smallest model; `fits` and `larger.last` give those of the others."""
    policy = random_policy(options.models[0], options.dtype, options.device)
    peaks_of(options, sink, options.models[0], policy)


def peaks_of(options: Options, sink: Sink, name: str, policy: Policy) -> None:
    """Of 64 episodes of three turns."""
    sizes: dict[str, Any] = options.pick(
        {"tasks": 8, "group": 8, "turns": 3, "prompt": 300, "tokens": 4},
        {"tasks": 2, "group": 2, "turns": 2, "prompt": 20, "tokens": 3},
    )
    dtype = options.dtype
    row = f"{name} {dtype}"
    options.on.clean()
    sink.add(PEAKS, row, "weights", options.on.held() / 1e9)
    episodes: list[Episode] = []
    for adapter in ("react", "choose"):

        def rollout(adapter: str = adapter) -> None:
            episodes[:] = play_house(policy, adapter, **sizes)

        def learn() -> None:
            _update(options, policy, dtype, episodes, sizes["group"])

        for what, work in (("rollout", rollout), ("update", learn)):
            options.on.clean()
            with masks() as found:
                work()
            peak = options.on.peak()
            sink.add(PEAKS, row, f"{adapter} {what}", peak / 1e9)
            sink.add(PEAKS, row, f"{adapter} {what}, masks", found.peak / 1e9)


def _update(
    options: Options, policy: Policy, dtype: str, episodes: list[Episode], group: int
) -> None:
    settings = Settings(
        dtype=dtype,
        device=options.device,
        tasks=len(episodes) // group,
        group=group,
        trl_batch=1,
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Learner(policy, contrail_config(settings, Path(scratch)))
        trainer.gradients(Batch.of(episodes, some_advantages(len(episodes))))
    for parameter in policy.parameters.values():
        parameter.grad = None


def fits(options: Options, sink: Sink) -> None:
    """Four times as much until it does not: the batch of a rollout, the length of an update's
    episodes; of the second model, whose peaks follow."""
    name = options.second
    policy = random_policy(name, options.dtype, options.device)
    first, last = options.pick((64, 1024), (2, 4))

    def played(batch: int) -> None:
        # Two tasks' prompts of 1,000 tokens, and every episode's own copy of its keys.
        prompt = options.pick(1000, 20)
        play_house(policy, "react", tasks=2, group=batch // 2, turns=1, prompt=prompt, tokens=2)

    _multiply(options, sink, f"{name} rollout: episodes of 1,000 tokens", played, (first, last))

    def learnt(length: int) -> None:
        sizes: dict[str, Any] = {"tasks": 1, "group": 2, "turns": 1, "tokens": 4}
        episodes = play_house(policy, "react", prompt=length, **sizes)
        _update(options, policy, options.dtype, episodes, 2)

    longest = options.pick(16_384, 64)
    row = f"{name} update: tokens of an episode"
    _multiply(options, sink, row, learnt, (options.pick(1024, 16), longest))
    options.on.clean()
    peaks_of(options, sink, name, policy)


def _multiply(
    options: Options, sink: Sink, row: str, work: Callable[[int], None], bounds: tuple[int, int]
) -> None:
    size, most = bounds
    while size <= most:
        options.on.clean()
        try:
            seconds = options.on.seconds(lambda: work(size))  # noqa: B023
        except OutOfMemory:
            sink.add(FITS, row, "out of memory at", float(size))
            options.on.clean()
            return
        sink.add(FITS, row, "fits", float(size))
        sink.add(FITS, row, "GB", options.on.peak() / 1e9)
        sink.add(FITS, row, "seconds", seconds)
        size *= 2 if options.tiny else 4
