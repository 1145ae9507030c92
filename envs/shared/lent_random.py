"""The global random state, lent to libraries that draw from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


class LentRandom:
    """A state of the global generators of Python and numpy, for a library without its own."""

    def __init__(self) -> None:
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Let what follows be drawn from this seed."""
        import numpy

        self._python = random.Random(seed).getstate()
        self._numpy = numpy.random.RandomState(seed % 2**32).get_state(legacy=False)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Context manager: draw from this state, then put the global one back."""
        import numpy

        python, numeric = random.getstate(), numpy.random.get_state(legacy=False)  # noqa: NPY002
        random.setstate(self._python)
        numpy.random.set_state(self._numpy)  # noqa: NPY002
        try:
            yield
        finally:
            self._python = random.getstate()
            self._numpy = numpy.random.get_state(legacy=False)  # noqa: NPY002
            random.setstate(python)
            numpy.random.set_state(numeric)  # noqa: NPY002
