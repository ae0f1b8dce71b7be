"""Numbers as a reader wants them."""

from __future__ import annotations

import math

NOTHING = "–"
"""Stands where a score is not defined."""


def fixed(value: float, digits: int = 3) -> str:
    """Write a value with so many digits after the point."""
    if math.isnan(value):
        return NOTHING
    return "∞" if math.isinf(value) else f"{value:.{digits}f}".replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """Write a value with so many significant digits, and never in powers of ten if avoidable."""
    if not math.isfinite(value):
        return fixed(value)
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if power < -4 or power > 8:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return f"{value:,.{max(0, digits - 1 - power)}f}".replace("-", "−").replace(",", "\u202f")


def error_of(error: float, digits: int = 3) -> str:
    """Write a standard error behind its value; empty if there is none or the value is exact."""
    if not math.isfinite(error) or error <= 0:
        return ""
    least = 10.0**-digits
    return f"± {error:.{digits}f}" if error >= least / 2 else f"± <{least:.{digits}f}"


def with_error(value: float, error: float, digits: int = 3) -> str:
    """Write a value and its standard error in one line of text."""
    return f"{fixed(value, digits)} {error_of(error, digits)}".strip()
