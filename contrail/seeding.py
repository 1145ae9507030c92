"""Generators for every random draw of a run, made from the run's seed and the draw's name.

No draw depends on earlier ones, so a resumed run draws what an undisturbed run would have drawn.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy


def generator(seed: int, *name: str | int) -> numpy.random.Generator:
    """Return the generator of the draw `name` in a run with this seed.

    It is the same on any machine and in any process.

    Args:
        seed: the run's seed, or a constant for draws that all runs share.
        name: identifies the draw: "rollout", stage, update, task, sample.
    """
    import numpy  # here: stream files and help texts are read without it

    digest = hashlib.sha256(json.dumps([seed, *name]).encode()).digest()
    return numpy.random.default_rng(numpy.frombuffer(digest, dtype=numpy.uint32))
