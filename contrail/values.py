"""Values that authors hand over, as the plain Python values that everything behind them expects.

Simulators speak numpy, torch or pandas: their scalars and arrays are taken where the meaning is
plain. Anything else is refused, with the name of the field and its type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LONG = 80  # characters of a value that a message quotes


def as_text(value: Any, what: str) -> str:
    """Return a text as a plain str.

    Raises:
        TypeError: it is something else; the message begins with `what`.
    """
    if type(value) is str:
        return value
    value = _scalar(value)
    if isinstance(value, str):  # numpy's, or a member of an enumeration
        return str.__str__(value)
    raise _refused(value, what, "a text: str(…)")


def as_texts(value: Any, what: str) -> Sequence[str]:
    """Return a list of texts; one that is in order already is returned as it is.

    Raises:
        TypeError: it is something else, or has no fixed order.
    """
    if type(value) in (list, tuple) and all(type(item) is str for item in value):
        texts: Sequence[str] = value
        return texts
    if isinstance(value, (set, frozenset)):
        raise _refused(value, what, "a list of texts, sorted: a set has no order of its own")
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise _refused(value, what, "a list of texts")
    try:
        items = list(value)
    except TypeError as error:  # such as an array without dimensions
        raise _refused(value, what, "a list of texts") from error
    return [as_text(item, f"{what}[{place}]") for place, item in enumerate(items)]


def as_whole(value: Any, what: str) -> int:
    """Return a whole number as a plain int.

    Raises:
        TypeError: it is something else.
    """
    value = _scalar(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    raise _refused(value, what, "a whole number: int(…)")


def as_number(value: Any, what: str) -> float:
    """Return a number as a plain float.

    Raises:
        TypeError: it is something else.
    """
    value = _scalar(value)
    if isinstance(value, (str, bytes)) or not hasattr(type(value), "__float__"):
        raise _refused(value, what, "a number: float(…)")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:  # an array of several
        raise _refused(value, what, "a number: float(…)") from error


def as_numbers(value: Any, what: str) -> dict[str, float]:
    """Finite numbers by name, as a plain dict.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise _refused(value, what, "a mapping of names to numbers")
    numbers = {}
    for name, item in value.items():
        key = as_text(name, f"a name in {what}")
        numbers[key] = as_number(item, f"{what}[{key!r}]")
        if not math.isfinite(numbers[key]):
            raise _refused(item, f"{what}[{key!r}]", "finite")
    return numbers


def as_flag(value: Any, what: str) -> bool:
    """True or False as a plain bool; 1 and 0 are taken for them.

    Raises:
        TypeError: it is something else.
    """
    value = _scalar(value)
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise _refused(value, what, "True or False: bool(…)")


def as_difficulty(value: Any, what: str) -> str | int | float | None:
    """Return a difficulty: a text, a number or None.

    Raises:
        TypeError: it is something else.
    """
    value = _scalar(value)
    if value is None:
        return None
    if isinstance(value, str):
        return as_text(value, what)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise _refused(value, what, "a text, a whole number or None")


def _scalar(value: Any) -> Any:
    """Return the Python value of a scalar of numpy, torch or jax; anything else as it is."""
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return value.item()
    return value


def shown(value: object) -> str:
    """Return a value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _refused(value: object, what: str, wanted: str) -> TypeError:
    return TypeError(
        f"{what} is {shown(value)}, of type {type(value).__name__}; it must be {wanted}"
    )
