"""Random state for libraries that draw from the global generators."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class LentRandomness:
    """States of `random` and numpy's global generator that belong to one environment.

    While they are lent, what the library draws depends on the seed alone, and the generators of
    others stay as they are.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begin anew, as a task does."""
        self._state = random.Random(seed).getstate()
        self._numpy: Any = None
        self._seed = seed

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Context manager: the library draws from these states, then the others come back."""
        outside = random.getstate()
        random.setstate(self._state)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            numpy_outside = numpy.random.get_state()
            own = self._numpy or numpy.random.RandomState(self._seed % 2**32).get_state()
            numpy.random.set_state(own)
        try:
            yield
        finally:
            self._state = random.getstate()
            random.setstate(outside)
            if numpy is not None:
                self._numpy = numpy.random.get_state()
                numpy.random.set_state(numpy_outside)
