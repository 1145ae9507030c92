"""The larger models: each is built once, and all is measured with it."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.gpu.beside_trl import settings_of, update_of
from benchmarks.gpu.memory import peaks_of
from benchmarks.gpu.models import random_model
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options
from benchmarks.gpu.speed import choices_of, decode_of
from benchmarks.gpu.spent import decode_of as decode_spent


def second(options: Options, sink: Sink) -> None:
    """The second model: decoding, choices, a profile, an update of half as many episodes."""
    name = options.second
    model = random_model(name, options.dtype, options.device)
    policy = decode_of(options, sink, name, model, tokens=32, brief=True)
    choices_of(options, sink, name, policy)
    decode_spent(options, sink, name, policy, options.pick(64, 2), options.pick(4, 3))
    options.on.clean()
    settings = settings_of(options)
    update_of(options, sink, name, policy, replace(settings, tasks=settings.tasks // 2))


def last(options: Options, sink: Sink) -> None:
    """The largest model: decoding, and peaks of memory."""
    name = options.models[-1]
    model = random_model(name, options.dtype, options.device)
    policy = decode_of(options, sink, name, model, tokens=32, brief=True)
    options.on.clean()
    peaks_of(options, sink, name, policy)
