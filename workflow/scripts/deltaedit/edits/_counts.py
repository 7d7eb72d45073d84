"""Counts from rates, in the decimals that the user typed."""

from decimal import Decimal
from math import floor


def share(rate: float, size: int) -> int:
    """Return floor(rate * size) in decimal arithmetic: 0.9 of 1000 is 900, not 899 or 901."""
    return floor(Decimal(str(rate)) * size)
