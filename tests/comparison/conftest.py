"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contrail.comparison.processes import Workers


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """A fork server, whose start takes seconds: one for all tests."""
    with Workers() as workers:
        yield workers
