"""The values of a column: as numbers, or as names of levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def numbers(column: pd.Series) -> np.ndarray[Any, Any]:
    """Turn a number or datetime column into float64 (seconds since 1970; NaN for missing)."""
    if column.dtype.kind == "M":
        ticks = column.to_numpy().astype("datetime64[us]")
        # Whole and fractional seconds apart: microseconds since 1970 may not fit a float64.
        whole, fraction = np.divmod(ticks.astype(np.int64), 1_000_000)
        return np.where(np.isnat(ticks), np.nan, whole + fraction / 1e6)
    return column.to_numpy(dtype=np.float64)


def level_text(value: Any) -> str:
    """Name a level: text as it is, whole numbers without a decimal point."""
    if isinstance(value, str):
        return value
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


LEAST_WEIGHT = 1e-150
"""Weights below this share of the largest are refused: their squares would be 0 in float64."""
