"""How large the block, the basis and the filtered part of a Krylov run are; found by trial."""

from __future__ import annotations

BLOCK = 32
"""Vectors multiplied at a time."""

EXTRA = 32
"""Ritz vectors beyond those wanted: the gap to them sharpens the bound of the last wanted."""

CUT_SHARE = 1.56
"""The filter cuts where this many times the wanted values lie above."""

_SIZES = {1: 3.0, 2: 2.5, 3: 2.25}
"""Largest basis for a filter of degree 1, 2 or more, in multiples of the values wanted."""


def basis_columns(count: int, kept: int, degree: int, fit: int | None) -> tuple[int, bool]:
    """Choose how many columns the basis may have before it is cut down.

    Parameters
    ----------
    count, kept : int
        Values wanted, and Ritz vectors that are kept for them.
    degree : int
        Of the filter.
    fit : int or None
        Columns that there is memory for.

    Returns
    -------
    (int, bool)
        Columns, and whether they fit.
    """
    size = max(int(_SIZES[min(degree, 3)] * count) + 2 * BLOCK, kept + 6 * BLOCK)
    if fit is None or fit >= size:
        return size, True
    least = max(2 * kept, kept + 4 * BLOCK)
    return (fit, True) if fit >= least else (size, False)


def columns_kept(kept: int, limit: int, block: int = BLOCK) -> int:
    """Columns that stay when a basis is cut down: more than the values, where there is room."""
    return max(kept, min(kept + 2 * block, limit - 4 * block))
