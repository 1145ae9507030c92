"""How fast? Decoding beside what else decodes and beside the limit; choices; ceilings."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.choose import brute_force
from benchmarks.gpu import static
from benchmarks.gpu.device import OutOfMemory
from benchmarks.gpu.house import play_house
from benchmarks.gpu.models import (
    cache_bytes,
    random_model,
    random_policy,
    weight_bytes,
)
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options
from contrail.model.policy import Policy

import torch  # isort: skip

CEILINGS = "The device"
DECODE = "Decoding: new tokens a second"
CHOOSE = "Choices among 20 candidates: seconds"


def ceilings(options: Options, sink: Sink) -> None:
    """What the device can do at most, and what it is."""
    for name, value in options.on.describe().items():
        sink.add(CEILINGS, name, "", value)
    for name, value in {"torch": torch.__version__, **_versions()}.items():
        sink.add(CEILINGS, name, "", value)
    sink.add(CEILINGS, "copy, GB/s read and written", "", bandwidth(options) / 1e9)
    size = options.pick(8192, 256)
    one = torch.randn(size, size, dtype=torch.bfloat16, device=options.device)
    other = torch.randn_like(one)
    torch.mm(one, other)
    seconds = options.on.seconds(lambda: [torch.mm(one, other) for _ in range(10)]) / 10
    row = f"{size}³ bf16 product, TFLOP/s"
    sink.add(CEILINGS, row, "", 2 * size**3 / seconds / 1e12)
    small = torch.zeros(8, device=options.device)
    count = options.pick(10_000, 100)
    seconds = options.on.seconds(lambda: [small.add_(1) for _ in range(count)]) / count
    sink.add(CEILINGS, "smallest operation from Python, µs", "", seconds * 1e6)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("transformers", "peft", "trl")}


def bandwidth(options: Options) -> float:
    """Bytes a second that a copy reads and writes together."""
    source = torch.ones(options.pick(1 << 30, 1 << 22), dtype=torch.float32, device=options.device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = [options.on.seconds(lambda: target.copy_(source)) for _ in range(5)]
    return 2 * source.nbytes / statistics.median(times)


def decode(options: Options, sink: Sink) -> None:
    """The smallest model, 64 rows."""
    name = options.models[0]
    decode_of(options, sink, name, random_model(name, options.dtype, options.device))


def decode_rest(options: Options, sink: Sink) -> None:
    """The smallest model, other batches."""
    name = options.models[0]
    model = random_model(name, options.dtype, options.device)
    decode_of(options, sink, name, model, options.pick((256, 1, 8), (1, 4)), tokens=32)


def decode_of(
    options: Options,
    sink: Sink,
    name: str,
    model: Any,
    batches: tuple[int, ...] = (),
    *,
    tokens: int = 64,
    brief: bool = False,
) -> Policy:
    """Return all ways to decode with a model that is there; it gets an adapter, and is returned.

    Args:
        options: of the part.
        sink: takes the figures.
        name: of the model's shape.
        model: without an adapter.
        batches: how many rows; 64 without any.
        tokens: that contrail writes.
        brief: leave out the static loops and `generate`.
    """
    prompt, tokens = options.pick((300, tokens), (20, 4))
    speed = bandwidth(options)
    batches = batches or options.pick((64,), (2,))
    for batch in batches:
        row = f"{name} batch {batch:3d}, {tokens} tokens"
        read = weight_bytes(model) + batch * cache_bytes(model) * (prompt + tokens / 2)
        sink.add(DECODE, row, "limit by bandwidth", batch * speed / read)
        _bare(options, sink, row, "", model, batch, prompt, brief)
        options.on.clean()
    policy = random_policy(name, options.dtype, options.device, model=model)
    for batch in batches:
        row = f"{name} batch {batch:3d}, {tokens} tokens"

        def tell(column: str, count: int, work: Callable[[int], Any], row: str = row) -> None:
            """The time of `count` tokens once, after two to warm up."""
            try:
                work(2)
                seconds = options.on.seconds(lambda: work(count))
            except OutOfMemory:
                sink.add(DECODE, row, column, "out of memory")
                options.on.clean()
                return
            sink.add(DECODE, row, column, batch * count / seconds)  # noqa: B023

        # What groups share is computed once; the rows of `generate` compute it each.
        ours = partial(_ours, policy, batch, prompt)
        tell("contrail", tokens, ours)
        if not brief and batch in options.pick((8, 64), (2, 4)):
            ids = torch.ones((batch, prompt), dtype=torch.long, device=options.device)
            few = options.pick(32, 4)
            tell(f"generate (PEFT), {few} tokens", few, partial(_generate, policy, ids))
        with policy.acting() as acting:
            _bare(options, sink, row, ", with LoRA", acting, batch, prompt, brief)
        options.on.clean()
    return policy


def _ours(policy: Policy, batch: int, prompt: int, tokens: int) -> None:
    play_house(policy, "react", tasks=1, group=batch, turns=1, prompt=prompt, tokens=tokens)


def _generate(policy: Policy, ids: torch.Tensor, tokens: int) -> None:
    policy.model.eval()
    model: Any = policy.model
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=True,
    )


def _bare(
    options: Options,
    sink: Sink,
    row: str,
    suffix: str,
    model: Any,
    batch: int,
    prompt: int,
    brief: bool,
) -> None:
    """The loop of forwards with a static cache as a CUDA graph, and as it is.

    Every step takes the same time, so few of them are timed; there is no prompt to compute.
    """
    graph, static_loop = options.pick((64, 16), (4, 4))
    loop = static.Loop(model, batch, prompt, graph + 8)

    def run(step: Callable[[], Any], count: int) -> None:
        loop.rewind()
        for _ in range(count):
            step()

    with static.attention(model):
        column = f"CUDA graph, {graph} steps{suffix}"
        try:
            replay = options.on.captured(loop.step)
        except OutOfMemory:
            sink.add(DECODE, row, column, "out of memory")
            return
        except RuntimeError as error:
            sink.add(DECODE, row, column, f"not captured: {error}"[:300])
        else:
            times = [options.on.seconds(lambda: run(replay, graph)) for _ in range(3)]
            sink.add(DECODE, row, column, batch * graph / statistics.median(times))
        if not brief:
            run(loop.step, 2)
            seconds = options.on.seconds(lambda: run(loop.step, static_loop))
            column = f"static loop, {static_loop} steps{suffix}"
            sink.add(DECODE, row, column, batch * static_loop / seconds)


def choices(options: Options, sink: Sink) -> None:
    """`choose`, beside a forward for every candidate."""
    name = options.models[0]
    choices_of(options, sink, name, random_policy(name, options.dtype, options.device))


def choices_of(options: Options, sink: Sink, name: str, policy: Policy) -> None:
    """The same with a model that is there."""
    sizes: dict[str, Any] = options.pick(
        {"tasks": 8, "group": 8, "turns": 3, "prompt": 300},
        {"tasks": 2, "group": 2, "turns": 2, "prompt": 40},
    )
    row = f"{name}, {sizes['tasks'] * sizes['group']} episodes of {sizes['turns']} turns"
    episodes = play_house(policy, "choose", **sizes)
    seconds = options.on.seconds(lambda: play_house(policy, "choose", **sizes))
    sink.add(CHOOSE, row, "contrail", seconds)
    few = episodes[: options.pick(4, 1)]
    brute_force(policy, few[:1])
    brute = options.on.seconds(lambda: brute_force(policy, few)) * len(episodes) / len(few)
    sink.add(CHOOSE, row, f"a forward for each, from {len(few)} of them", brute)
    sink.add(CHOOSE, row, "times faster", brute / seconds)
