"""What comes before the blocks of an operator: neighbours are searched, an order is found."""

from __future__ import annotations

from contexture.contexts.base import Context, Extent
from contexture.contexts.counts import Counts
from contexture.contexts.graph import Graph
from contexture.contexts.knn import Knn
from contexture.contexts.masked import MaskedKnn

ORDER_NEIGHBOURS = 8
"""Neighbours of a row, the nearest ones, that decide its place in a local order. With 16 or 30
it is no better (100 000 rows, 3 and 16 features), and takes the more memory."""

ORDER_ENTRY = 80
"""Bytes that finding an order takes for every entry that is looked at. Measured: 74 to 79 beyond
the neighbours, 200 000 rows of 10 and of 30."""

_FLOAT, _INDEX = 8, 4


def known_before(context: Context, n: int) -> bool:
    """Whether it is known which entries of P are not 0 before any row is computed."""
    if isinstance(context, Knn | MaskedKnn):
        return context.approximates(n)
    return isinstance(context, Graph | Counts)


def search_bytes(context: Context, n: int, D: int) -> int:
    """Memory of the search of the neighbours of all rows, one search a mask; 0 if there is none."""
    if not isinstance(context, Knn | MaskedKnn) or not context.approximates(n):
        return 0
    k = context.neighbours(n)
    # X, and while it is searched what `approximate_neighbours` says of itself.
    each = _FLOAT * D + _INDEX * D + 32 * k
    if isinstance(context, MaskedKnn):
        # The features that a mask keeps are copied, and the lists of all masks are held.
        each += _FLOAT * D + _INDEX * k * context.n_masks
    return each * n


def evidence_bytes(context: Context, extent: Extent, D: int) -> int:
    """Memory of what every worker holds while it computes rows of P, but for the rows."""
    if isinstance(context, Graph | Counts):
        return 3 * (_FLOAT + _INDEX) * extent.nonzeros  # as it came, and as it is normalised
    if isinstance(context, Knn | MaskedKnn):
        known = context.approximates(extent.rows)  # lists, read by slices
        return 0 if known else extent.columns * (_FLOAT * D + _INDEX * (D + 1))
    return 2 * _FLOAT * extent.columns * D


def order_bytes(context: Context, extent: Extent) -> int:
    """Memory that finding a local order takes; 0 where the entries are not known before."""
    n = extent.rows
    if not known_before(context, n):
        return 0
    if isinstance(context, Knn | MaskedKnn):
        masks = context.n_masks if isinstance(context, MaskedKnn) else 1
        lists = 2 * _INDEX * masks * context.neighbours(n)  # in both orders
        return n * (lists + ORDER_ENTRY * ORDER_NEIGHBOURS)
    return extent.nonzeros * (ORDER_ENTRY + _FLOAT + _INDEX)
