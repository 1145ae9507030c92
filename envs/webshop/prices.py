"""Prices as catalogues write them: "$1,299.00", "$10 - $20", "from $9.99", "USD 12", lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from contrail.envs.shared.data_files import plain_text
from contrail.envs.webshop.reward import NO_LIMIT

UNKNOWN_PRICE = 100.0  # WebShop's own, for products without a price
AFTER = r"[\u20ac\u00a3\u00a5\u20b9]|(?:USD|EUR|GBP|CAD|AUD|dollars?|euros?)\b"
NUMBER = r"(?<![\d.,])(?:\d{1,3}(?: \d{3})+(?:[.,]\d+)?|\d[\d.,]*\d|\d|\.\d+)(?!\d)"
PRICE = re.compile(rf"(US\$|\$|{AFTER})?\s*({NUMBER})\s*({AFTER})?", re.IGNORECASE)
RANGE = re.compile(r"\s*(?:-|\u2013|\u2014|~|to|and)\s*", re.IGNORECASE)
APART = re.compile(r"\([^)]*\)|/\s*[^\s$]+")  # the price of a unit: "($0.54 / Ounce)"


def price_range(value: Any) -> tuple[float, float]:
    """Return the lowest and highest price of a catalogue's field; two at most are read."""
    found = [price for price in _prices(value) if 0 < price < NO_LIMIT][:2] or [UNKNOWN_PRICE]
    return min(found), max(found)


def _prices(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _prices(item)
        return
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)
        return
    text = plain_text(value)
    matches = list(PRICE.finditer(APART.sub(" ", text))) or list(PRICE.finditer(text))
    marked = any(match[1] or match[3] for match in matches)
    before: re.Match[str] | None = None  # the price just read
    for place, match in enumerate(matches):
        later = matches[place + 1] if place + 1 < len(matches) else None
        signed = bool(match[1] or match[3])
        joined = before is not None and _joined(before, match)
        opens = later is not None and bool(later[1] or later[3]) and _joined(match, later)
        # Where some numbers have a currency, others are none: "2 for $10". Else the first is.
        if signed or joined or (opens if marked else place == 0):
            before = match
            yield _number(match[2])
        else:
            before = None


def _joined(one: re.Match[str], other: re.Match[str]) -> bool:
    """Return whether two prices are the ends of a range."""
    return RANGE.fullmatch(one.string, one.end(), other.start()) is not None


def _number(text: str) -> float:
    """Return the number of a text such as "1,299.00", "1.299,00" or "12,99"."""
    text = text.replace(" ", "")
    comma, stop = text.rfind(","), text.rfind(".")
    if comma >= 0 and stop >= 0:
        thousands = "," if stop > comma else "."
    elif comma >= 0:
        thousands = "," if re.fullmatch(r"\d{1,3}(?:,\d{2,3})*,\d{3}", text) else "."
    else:
        thousands = "." if text.count(".") > 1 else ","
    plain = text.replace(thousands, "").replace(",", ".")
    whole, _, cents = plain.rpartition(".")
    return float(f"{whole.replace('.', '')}.{cents}" if "." in plain else plain)
