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
from contrail.model import Policy

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
    """The smallest model, all batches; the next, three of them."""
    _decode(options, sink, options.models[0], options.pick((64, 1, 8, 256), (1, 4)))
    for name in options.models[1:2]:
        _decode(options, sink, name, (64, 256, 1))


def decode_large(options: Options, sink: Sink) -> None:
    """The largest model, one batch."""
    _decode(options, sink, options.models[-1], options.pick((64,), (2,)))


def _decode(options: Options, sink: Sink, name: str, batches: tuple[int, ...]) -> None:
    prompt, tokens = options.pick((300, 64), (20, 4))
    dtype = options.pick("bfloat16", "float32")
    speed = bandwidth(options)
    for batch in batches:
        row = f"{name} batch {batch:3d}"
        policy = random_policy(name, dtype, options.device)

        def tell(
            column: str,
            work: Callable[[Policy], Any],
            times: int,
            warm: bool,
            row: str = row,
            batch: int = batch,
            policy: Policy = policy,
        ) -> None:
            _tell(options, sink, row, column, batch * tokens, lambda: work(policy), times, warm)

        # What groups share is computed once; the rows of `generate` compute it each.
        ours = partial(_ours, batch=batch, prompt=prompt, tokens=tokens)
        tell("contrail", ours, 2, True)
        ids = torch.ones((batch, prompt), dtype=torch.long, device=options.device)
        tell("generate (PEFT)", partial(_generate, ids=ids, tokens=tokens), 1, False)
        with policy.acting() as model:
            _bare(options, sink, row, ", with LoRA", model, batch, prompt, tokens)
        del policy, model, tell
        options.on.clean()
        raw = random_model(name, dtype, options.device)
        _bare(options, sink, row, "", raw, batch, prompt, tokens)
        read = weight_bytes(raw) + batch * cache_bytes(raw) * (prompt + tokens / 2)
        sink.add(DECODE, row, "limit by bandwidth", batch * speed / read)
        del raw
        options.on.clean()


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
    tokens: int,
) -> None:
    """The loop of forwards with a static cache, and the same as a CUDA graph."""
    loop = static.Loop(model, batch, prompt, tokens + 8)

    def run(step: Callable[[], Any], count: int = tokens) -> None:
        loop.rewind()
        for _ in range(count):
            step()

    with static.attention(model):
        run(loop.step, 2)
        _tell(
            options, sink, row, f"static{suffix}", batch * tokens, lambda: run(loop.step), 1, False
        )
        loop.rewind()
        try:
            replay = options.on.captured(loop.step)
        except RuntimeError as error:
            sink.add(DECODE, row, f"CUDA graph{suffix}", f"not captured: {error}"[:300])
            return
        column = f"CUDA graph{suffix}"
        _tell(options, sink, row, column, batch * tokens, lambda: run(replay), 3, False)


def _tell(
    options: Options,
    sink: Sink,
    row: str,
    column: str,
    count: int,
    work: Callable[[], Any],
    times: int,
    warm: bool = True,
) -> None:
    try:
        if warm:
            work()
        seconds = statistics.median(options.on.seconds(work) for _ in range(times))
    except OutOfMemory:
        sink.add(DECODE, row, column, "out of memory")
        options.on.clean()
        return
    sink.add(DECODE, row, column, count / seconds)


def choices(options: Options, sink: Sink) -> None:
    """`choose`, beside a forward for every candidate."""
    sizes: dict[str, Any] = options.pick(
        {"tasks": 8, "group": 8, "turns": 3, "prompt": 300},
        {"tasks": 2, "group": 2, "turns": 2, "prompt": 40},
    )
    for name in options.models[:2]:
        _choices(options, sink, name, sizes)
        options.on.clean()


def _choices(options: Options, sink: Sink, name: str, sizes: dict[str, Any]) -> None:
    policy = random_policy(name, options.pick("bfloat16", "float32"), options.device)
    row = f"{name}, {sizes['tasks'] * sizes['group']} episodes of {sizes['turns']} turns"
    episodes = play_house(policy, "choose", **sizes)
    seconds = options.on.seconds(lambda: play_house(policy, "choose", **sizes))
    sink.add(CHOOSE, row, "contrail", seconds)
    few = episodes[: max(1, len(episodes) // 8)]
    brute_force(policy, few[:1])
    brute = options.on.seconds(lambda: brute_force(policy, few)) * len(episodes) / len(few)
    sink.add(CHOOSE, row, "a forward for each (from 1/8 of them)", brute)
    sink.add(CHOOSE, row, "times faster", brute / seconds)
