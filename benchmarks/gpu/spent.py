"""Where the time goes: kernels, launches, the CPU between them, synchronisations."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.house import play_house
from benchmarks.gpu.models import random_policy
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options
from benchmarks.update import contrail_config, some_advantages
from benchmarks.workload import Settings
from contrail.model.policy import Policy
from contrail.training.learner import Learner
from contrail.training.objective import Batch

from torch.profiler import ProfilerActivity, profile  # isort: skip

SPENT = "Where the time goes: of each decoding step, and of each update"
CPU_TIME = "self_cpu_time_total"
LAUNCHES = (
    "cudaLaunchKernel",
    "cudaLaunchKernelExC",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cudaGraphLaunch",
)
WAITS = (
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
    "aten::item",
    "aten::nonzero",
    "Memcpy DtoH (Device -> Pageable)",
    "Memcpy DtoH (Device -> Pinned)",
    "Memcpy HtoD (Pageable -> Device)",
)


def decode(options: Options, sink: Sink) -> None:
    """Of our decoding."""
    policy = random_policy(options.models[0], options.dtype, options.device)
    few, many = options.pick((64, 256), (2, 4))
    decode_of(options, sink, options.models[0], policy, few, options.pick(8, 3))
    decode_of(options, sink, options.models[0], policy, many, options.pick(4, 3))


def decode_of(
    options: Options, sink: Sink, name: str, policy: Policy, batch: int, tokens: int
) -> None:
    """Of a model that is there. Steps are alike, and the profiler takes its time for each event."""
    prompt = options.pick(300, 20)

    def work() -> None:
        play_house(policy, "react", tasks=1, group=batch, turns=1, prompt=prompt, tokens=tokens)

    label = f"{name} decode, batch {batch}"
    _profile(options, sink, label, work, "step", tokens)
    _python(sink, label, work)


def update(options: Options, sink: Sink) -> None:
    """Of our update."""
    sizes: dict[str, Any] = options.pick(
        {"tasks": 2, "group": 8, "turns": 2, "prompt": 300, "tokens": 8},
        {"tasks": 2, "group": 2, "turns": 2, "prompt": 20, "tokens": 3},
    )
    dtype = options.pick("bfloat16", "float32")
    name = options.models[0]
    policy = random_policy(name, dtype, options.device)
    episodes = play_house(policy, "react", **sizes)
    settings = Settings(
        dtype=dtype,
        device=options.device,
        tasks=sizes["tasks"],
        group=sizes["group"],
        trl_batch=1,
    )
    advantages = some_advantages(len(episodes))
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Learner(policy, contrail_config(settings, Path(scratch)))

        def work() -> None:
            trainer.gradients(Batch.of(episodes, advantages))

        label = f"{name} update, {len(episodes)} episodes"
        _profile(options, sink, label, work, "update", 1)
        _python(sink, label, work)


def _profile(
    options: Options, sink: Sink, label: str, work: Callable[[], Any], unit: str, units: int
) -> None:
    work()
    plain = options.on.seconds(work)
    sink.add(SPENT, "wall ms each", label, plain * 1e3 / units)
    activities = [ProfilerActivity.CPU]
    if options.on.gpu:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        watched = options.on.seconds(work)
    events = found.key_averages()
    counts = {event.key: event.count for event in events}
    launches = sum(counts.get(name, 0) for name in LAUNCHES)
    sink.add(SPENT, "kernel launches each", label, launches / units)
    waits = {name: counts[name] for name in WAITS if name in counts}
    for name in WAITS[:3]:
        sink.add(SPENT, f"{name} each", label, waits.get(name, 0) / units)
    copies = sum(count for name, count in waits.items() if "DtoH" in name)
    sink.add(SPENT, "copies to the CPU each", label, copies / units)
    copies = sum(count for name, count in waits.items() if "HtoD" in name)
    sink.add(SPENT, "copies from the CPU each", label, copies / units)
    sink.add(SPENT, "aten::item each", label, waits.get("aten::item", 0) / units)
    # Events of the CPU carry their kernels' time, too: only the kernels' own are summed.
    kind, time = ("CUDA", "self_device_time_total") if options.on.gpu else ("CPU", CPU_TIME)
    own = [event for event in events if str(event.device_type).endswith(kind)]
    own = [event for event in own if not getattr(event, "is_user_annotation", False)]
    spent = [(getattr(event, time) / 1e6, event.key, event.count) for event in own]
    busy = sum(seconds for seconds, _, _ in spent)
    sink.add(SPENT, "kernels' ms each", label, busy * 1e3 / units)
    sink.add(SPENT, "device idle, share of the wall time", label, max(0.0, 1 - busy / plain))
    sink.add(SPENT, "wall time watched / not watched", label, watched / plain)
    for place, (seconds, key, count) in enumerate(sorted(spent, reverse=True)[:10], start=1):
        told = f"{seconds / max(busy, 1e-9):.0%} of kernels, {count / units:.0f} a {unit}"
        sink.add(f"Top kernels: {label}", f"{place}", "kernel", key[:90])
        sink.add(f"Top kernels: {label}", f"{place}", "share, count", told)


def _python(sink: Sink, label: str, work: Callable[[], Any]) -> None:
    """The functions in which Python spends most time of its own."""
    watched = cProfile.Profile()
    watched.enable()
    work()
    watched.disable()
    stats: Any = pstats.Stats(watched)
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:12]
    for (file, line, function), (_, calls, own, whole, _) in rows:
        where = f"{'/'.join(Path(file).parts[-2:])}:{line} {function}"
        table = f"Python's own time: {label}"
        sink.add(table, where, "own ms", own * 1e3)
        sink.add(table, where, "with callees, ms", whole * 1e3)
        sink.add(table, where, "calls", float(calls))
