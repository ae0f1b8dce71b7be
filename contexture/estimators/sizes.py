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

_FIRST_CHECK, _FIRST_CHECK_LARGE, _LARGE_SIDE = 1.75, 1.3, 50_000


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


def first_check(count: int, side: int) -> int:
    """Columns in the basis from which the values may be known.

    A look costs a dense eigenproblem: as much as a block or two where vectors are short, and next
    to nothing where they are long.
    """
    return int((_FIRST_CHECK_LARGE if side > _LARGE_SIDE else _FIRST_CHECK) * count)
