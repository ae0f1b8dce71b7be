"""The order of stored rows and columns, kept as two arrays of the group that has it."""

from __future__ import annotations

import numpy as np
import zarr

from contexture.order import Order
from contexture.store.base import array_of


def write_order(group: zarr.Group, order: Order | None) -> None:
    """Keep an order with a group; nothing is written where things come as the corpus has them."""
    if order is None:
        return
    for name, positions, dimension in (
        ("sample_order", order.rows, "sample"),
        ("column_order", order.columns, "column"),
    ):
        array = group.create_array(
            name,
            shape=positions.shape,
            chunks=(max(1, len(positions)),),
            dtype="int64",
            dimension_names=(dimension,),
        )
        array[:] = positions
    group.attrs["order"] = order.fingerprint


def read_order(group: zarr.Group | None) -> Order | None:
    """Return the order of a group; None if it is the corpus's own."""
    if group is None or "order" not in group.attrs:
        return None
    rows, columns = (np.asarray(array_of(group, f"{x}_order")[:]) for x in ("sample", "column"))
    return Order(rows, columns)
