"""Approximate neighbours in the store: found once, and read where rows of P are made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from contexture.contexts.base import Context
from contexture.errors import StoreError
from contexture.inputs import Features
from contexture.order import Order
from contexture.store.base import Store, array_of, attributes_of
from contexture.store.ledger import removed
from contexture.store.naming import plain
from contexture.store.orders import read_order, write_order
from contexture.store.place import storage_errors

CHUNK_ROWS = 1 << 16
"""Rows of a chunk."""

_NOWHERE = -1  # what is read where a chunk is missing


def neighbours_key(context: Context, features: Features, seed: int, ordered: bool = False) -> str:
    """Key of the neighbours of a context: those of its operator, in which order they may be."""
    return key_of_identity(context.identity(features, seed), ordered)


def key_of_identity(identity: str, ordered: bool) -> str:
    """Key of the neighbours of an operator, whatever its blocks are."""
    parts = [2 if ordered else 1, identity]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def has_neighbours(store: Store, key: str) -> bool:
    """Whether they are there, whole."""
    return bool(attributes_of(store.find(f"neighbours/{key}")).get("complete", False))


def write_neighbours(
    store: Store,
    key: str,
    positions: np.ndarray[Any, Any],
    details: Mapping[str, Any],
    order: Order | None = None,
) -> None:
    """Write the neighbours of all rows, shape (n, k), in the order given, and how good they are.

    If another run has written them meanwhile, its own stay: they are what it goes by.
    """
    with storage_errors(store.url), store.aside() as staged:
        group = store.group(staged)
        array = group.create_array(
            "positions",
            shape=positions.shape,
            chunks=(min(CHUNK_ROWS, len(positions)), positions.shape[1]),
            dtype="int32",
            fill_value=_NOWHERE,
            dimension_names=("sample", "neighbour"),
        )
        array[:] = positions
        write_order(group, order)
        group.attrs.update({"details": plain(dict(details)), "complete": True})
        store.put(staged, f"neighbours/{key}")


class StoredPositions:
    """Positions of neighbours in the store, read by row slices.

    Parameters
    ----------
    array : zarr.Array of int32, shape (n, k)
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, k)``."""
        return self._array.shape

    def __getitem__(self, rows: slice, /) -> np.ndarray[Any, Any]:
        """Read some rows.

        Raises
        ------
        StoreError
            If they were removed since the array was opened.
        """
        found = np.asarray(self._array[rows])
        if np.any(found == _NOWHERE):
            raise removed(self._array.path)
        return found


def read_neighbours(store: Store, key: str) -> tuple[StoredPositions, dict[str, Any], Order | None]:
    """Return the positions, read by row slices, how good they are, and their order, if any.

    Raises
    ------
    StoreError
        If they are not there, or not whole.
    """
    group = store.find(f"neighbours/{key}")
    if group is None or not group.attrs.get("complete", False):
        raise StoreError(f"the store '{store.url}' holds no neighbours '{key}'.")
    details = dict(attributes_of(group)["details"])
    return StoredPositions(array_of(group, "positions")), details, read_order(group)
