"""What one pass over a block finds out, and how the findings of several blocks combine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Found = Literal["null", "bool", "int64", "float64", "datetime", "str"]
"""The narrowest type that holds all values seen; "null" where none was seen."""

EXACT = 2**53
"""From here on, float64 may make one of two whole numbers."""


@dataclass(frozen=True)
class Facts:
    """What is known of one column in one block.

    Parameters
    ----------
    found : Found
        Its type.
    first_missing, first_infinite : int, optional
        The first row (in the block, from 0) with such a value.
    first_lossy : int, optional
        The first row with a number that float64 may not tell from others that the source does: a
        whole one of `EXACT` or more, or one with leading zeros. Needed of classes only.
    floating : bool
        Whether a number is a floating one before it could be spelled as the source has it.
    """

    found: Found
    first_missing: int | None = None
    first_infinite: int | None = None
    first_lossy: int | None = None
    floating: bool = False


@dataclass(frozen=True)
class Scan:
    """What is known of one block.

    Parameters
    ----------
    rows : int
        Number of rows.
    fingerprint : str
        SHA-256 of the content in hex.
    facts : dict of str to Facts
        By column.
    """

    rows: int
    fingerprint: str
    facts: dict[str, Facts]


def widest(one: Found, other: Found) -> Found:
    """Return the narrowest type that holds the values of both; text holds everything."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    return "float64" if {one, other} == {"int64", "float64"} else "str"


def merged(one: Facts, other: Facts, offset: int) -> Facts:
    """Combine the facts of a column over two blocks.

    Parameters
    ----------
    one : Facts
        Of all rows so far, counted from the start of the corpus.
    other : Facts
        Of the next block.
    offset : int
        Number of its first row in the corpus.
    """
    return Facts(
        widest(one.found, other.found),
        _first(one.first_missing, other.first_missing, offset),
        _first(one.first_infinite, other.first_infinite, offset),
        _first(one.first_lossy, other.first_lossy, offset),
        one.floating or other.floating,
    )


def _first(known: int | None, new: int | None, offset: int) -> int | None:
    if known is not None or new is None:
        return known
    return new + offset
