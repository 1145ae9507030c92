"""What the results share: warnings, and pandas if it is there."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from contrail.errors import ContrailError


def warn(lines: Iterable[str]) -> None:
    """Print warnings to stderr."""
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def pandas_module() -> Any:
    """Return pandas, which is optional.

    Raises:
        ContrailError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ContrailError("this needs pandas. Try: pip install pandas") from error
    return pandas
