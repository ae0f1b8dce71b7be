"""Approximate neighbours in the store: found once, and read where rows of P are made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from contexture.contexts.base import Context
from contexture.inputs import Features
from contexture.order import Order
from contexture.store.base import Store, array_of, attributes_of, plain, storage_errors
from contexture.store.orders import read_order, write_order

CHUNK_ROWS = 1 << 16
"""Rows of a chunk."""


def neighbours_key(context: Context, features: Features, seed: int, ordered: bool = False) -> str:
    """Key of the neighbours of a context: those of its operator, in which order they may be."""
    parts = [2 if ordered else 1, context.identity(features, seed)]
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
    """Write the neighbours of all rows, shape (n, k), in the order given, and how good they are."""
    path = f"neighbours/{key}"
    with storage_errors(store.url):
        store.remove(path)
        group = store.group(path)
        array = group.create_array(
            "positions",
            shape=positions.shape,
            chunks=(min(CHUNK_ROWS, len(positions)), positions.shape[1]),
            dtype="int32",
            dimension_names=("sample", "neighbour"),
        )
        array[:] = positions
        write_order(group, order)
        group.attrs.update({"details": plain(dict(details)), "complete": True})


def read_neighbours(store: Store, key: str) -> tuple[zarr.Array[Any], dict[str, Any], Order | None]:
    """Return the positions, read by row slices, how good they are, and their order, if any."""
    group = store.group(f"neighbours/{key}")
    details = dict(attributes_of(group)["details"])
    return array_of(group, "positions"), details, read_order(group)
