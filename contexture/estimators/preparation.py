"""What comes before the blocks of an operator: neighbours are searched, an order is found."""

from __future__ import annotations

from contexture.contexts.base import Context, Extent
from contexture.contexts.counts import Counts
from contexture.contexts.graph import Graph
from contexture.contexts.knn import Knn
from contexture.contexts.masked import MaskedKnn, MaskedRbf

ORDER_NEIGHBOURS = 8
"""Neighbours of a row, the nearest ones, that decide its place in a local order. With 16 or 30
it is no better (100 000 rows, 3 and 16 features), and takes the more memory."""

ORDER_ENTRY = 80
"""Bytes that finding an order takes for every entry that is looked at. Measured: 74 to 79 beyond
the neighbours, 200 000 rows of 10 and of 30."""

SEARCH_NEIGHBOUR, SEARCH_ROW = 26, 200
"""Bytes that the approximate search takes for every neighbour of a row, the row itself among them,
and for its trees; an upper estimate. Measured: with 30 neighbours 976 a row in all, 10^6 rows."""

TABLE_ENTRY = 40
"""Bytes that a graph or counts take for every entry while they are read and normalised: at first
as numbers of rows and columns with amounts, then as CSR with two more arrays of amounts. Measured:
31 and 37 beyond the names, 4 000 000 edges in CSV and as many counts in Parquet."""

TABLE_NAME = 256
"""Bytes of the name of a row or of a context value, while names are looked up."""

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
    # X, a copy of it in float32, and what the search itself takes.
    each = _FLOAT * D + _INDEX * D + SEARCH_NEIGHBOUR * (k + 1) + SEARCH_ROW
    if isinstance(context, MaskedKnn):
        # The features that a mask keeps are copied, and the lists of all masks are held.
        each += _FLOAT * D + _INDEX * k * context.n_masks
    return each * n


def evidence_bytes(context: Context, extent: Extent, D: int) -> int:
    """Memory of what every worker holds while it computes rows of P, but for the rows."""
    if isinstance(context, Graph | Counts):
        names = extent.rows + extent.columns
        return TABLE_ENTRY * extent.nonzeros + TABLE_NAME * names
    copy = _FLOAT * D
    if isinstance(context, Knn | MaskedKnn):
        if context.approximates(extent.rows):
            return 0  # lists, read by slices
        # The references, and what is multiplied; of a mask also the features that it keeps.
        masked = copy if isinstance(context, MaskedKnn) else 0
        return extent.columns * (copy + masked + _INDEX * (D + 1))
    # As they came and moved to their median; of a mask also the features that it keeps.
    return (3 if isinstance(context, MaskedRbf) else 2) * copy * extent.columns


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
