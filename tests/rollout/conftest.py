"""What the tests of this folder share."""

from __future__ import annotations

from typing import Any

import pytest

from contrail.engine import sampler as sampler_module  # isort: skip
from contrail.engine.engine import Engine  # isort: skip


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """All engines made by `play`."""
    made: list[Engine] = []

    def make(*args: Any, **settings: Any) -> Engine:
        made.append(Engine(*args, **settings))
        return made[-1]

    monkeypatch.setattr(sampler_module, "Engine", make)
    return made
