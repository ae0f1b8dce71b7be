"""Operators in the store: row blocks with a ledger, written in parallel, resumed, shared by runs.

A block is one chunk of each array, so that blocks may be written at the same time. Its entry in
the ledger ``done`` is set last; a block without it is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr
from scipy import sparse

from contexture.contexts.base import ConditionalRows
from contexture.errors import StoreError
from contexture.operator import ExpectationOperator
from contexture.order import Order, OrderedRows
from contexture.store.base import Store, array_of, attributes_of
from contexture.store.blocks import StoredBlocks
from contexture.store.naming import as_labels, plain
from contexture.store.orders import read_order, write_order
from contexture.store.place import storage_errors


def prepare_operator(
    store: Store, key: str, evidence: ConditionalRows, chunk_rows: int
) -> list[int]:
    """Lay out the arrays of an operator, or find them, and list the blocks that are missing.

    Parameters
    ----------
    store : Store
    key : str
        Under ``operators/``; from `Context.identity` and the chunk size.
    evidence : ConditionalRows
        The fitted context.
    chunk_rows : int
        Rows of a block.

    Returns
    -------
    list of int
        Numbers of the missing blocks, in order; empty if the operator is whole.
    """
    path = f"operators/{key}"
    with storage_errors(store.url):
        group = store.find(path)
        prepared = group is not None and bool(group.attrs.get("prepared"))
        if group is None or not prepared or not _fits(group, evidence):
            if prepared or not store.is_local:
                store.remove(path)
            if store.is_local:
                # Another run may be doing the same: whoever is first puts it in place.
                with store.aside() as staged:
                    _lay_out(store, staged, evidence, chunk_rows)
                    store.put(staged, path)
            else:
                _lay_out(store, path, evidence, chunk_rows)
            group = store.group(path)
        return np.flatnonzero(np.asarray(array_of(group, "done")[:]) == 0).tolist()


def _fits(group: zarr.Group, evidence: ConditionalRows) -> bool:
    """Whether blocks are in the order of the evidence; a whole operator is as good in any."""
    order = evidence.order.fingerprint if isinstance(evidence, OrderedRows) else None
    return group.attrs.get("order") == order or bool(np.all(array_of(group, "done")[:]))


def is_whole(store: Store, key: str) -> bool:
    """Whether an operator is there with all its blocks."""
    group = store.find(f"operators/{key}")
    if group is None or not group.attrs.get("prepared", False):
        return False
    return bool(np.all(array_of(group, "done")[:]))


def _lay_out(store: Store, path: str, evidence: ConditionalRows, chunk_rows: int) -> None:
    n, m = evidence.shape
    starts = range(0, n, chunk_rows)
    blocks = len(starts)
    group = store.group(path)
    values = evidence.context_values
    store.write(
        path,
        xr.Dataset(
            {
                "input_weight": ("sample", evidence.input_weights),
                "context_value": ("column", as_labels(values)),
            }
        ),
        mode="a",
    )
    if evidence.sparse:
        # Entries of a block stand in one chunk, as long as the fullest block.
        room = max(1, max(evidence.entries(i, min(i + chunk_rows, n)) for i in starts))
        for name, kind in (("data", "float64"), ("index", "int32")):
            group.create_array(
                name,
                shape=(blocks, room),
                chunks=(1, room),
                dtype=kind,
                dimension_names=("block", "entry"),
            )
        group.create_array(
            "row_length",
            shape=(blocks, chunk_rows),
            chunks=(1, chunk_rows),
            dtype="int32",
            dimension_names=("block", "row"),
        )
    else:
        group.create_array(
            "conditional",
            shape=(n, m),
            chunks=(chunk_rows, m),
            dtype="float64",
            dimension_names=("sample", "column"),
        )
    group.create_array(
        "partial_context_weight",
        shape=(blocks, m),
        chunks=(1, m),
        dtype="float64",
        dimension_names=("block", "column"),
    )
    group.create_array(
        "done", shape=(blocks,), chunks=(1,), dtype="int8", dimension_names=("block",)
    )
    write_order(group, evidence.order if isinstance(evidence, OrderedRows) else None)
    group.attrs.update(
        {
            "rows": n,
            "columns": m,
            "sparse": evidence.sparse,
            "chunk_rows": chunk_rows,
            "details": plain(dict(evidence.details)),
            "prepared": True,
        }
    )


def write_block(store: Store, key: str, evidence: ConditionalRows, block: int) -> int:
    """Compute one block of rows of P, write it with its part of P_A, and enter it as done.

    Parameters
    ----------
    store : Store
    key : str
        Under ``operators/``.
    evidence : ConditionalRows
        The fitted context.
    block : int
        Number of the block.

    Returns
    -------
    int
        ``block``.

    Raises
    ------
    StorageFullError
        If there is no room.
    """
    with storage_errors(store.url):
        group = zarr.open_group(
            store.url, path=f"operators/{key}", mode="r+", use_consolidated=False
        )
        shape = attributes_of(group)
        chunk_rows, n = int(shape["chunk_rows"]), int(shape["rows"])
        start = block * chunk_rows
        stop = min(start + chunk_rows, n)
        rows = evidence.rows(start, stop)
        if isinstance(rows, sparse.csr_array):
            room = array_of(group, "data").shape[1]
            data, index = np.zeros(room), np.zeros(room, dtype=np.int32)
            data[: rows.nnz], index[: rows.nnz] = rows.data, rows.indices
            lengths = np.zeros(chunk_rows, dtype=np.int32)
            lengths[: stop - start] = np.diff(rows.indptr)
            array_of(group, "data")[block], array_of(group, "index")[block] = data, index
            array_of(group, "row_length")[block] = lengths
        else:
            array_of(group, "conditional")[start:stop] = rows
        array_of(group, "partial_context_weight")[block] = (
            rows.T @ evidence.input_weights[start:stop]
        )
        array_of(group, "done")[block] = 1
    return block


def read_operator(store: Store, key: str) -> ExpectationOperator:
    """Open an operator; as `open_operator`, which says more of it."""
    return open_operator(store, key).operator


@dataclass(frozen=True)
class StoredOperator:
    """An operator in the store.

    Attributes
    ----------
    operator : ExpectationOperator
        In the order in which it is stored; its blocks are read when they are needed.
    order : Order or None
        Where its rows and columns stand in the corpus; None if they come as the corpus has them.
    details : dict
        What fitting the context found.
    """

    operator: ExpectationOperator
    order: Order | None
    details: dict[str, Any]


def open_operator(store: Store, key: str) -> StoredOperator:
    """Open an operator with its order; nothing is read but the marginals.

    Raises
    ------
    StoreError
        If it is not there, or blocks are missing.
    """
    group = store.find(f"operators/{key}")
    if group is None or not group.attrs.get("prepared", False):
        raise StoreError(f"the store '{store.url}' holds no operator '{key}'.")
    done = np.asarray(array_of(group, "done")[:])
    missing = int(np.sum(done == 0))
    if missing:
        raise StoreError(
            f"operator '{key}' lacks {missing} of {len(done)} blocks; "
            "run the audit again, it computes only these."
        )
    # Block by block in order: the sum does not depend on who computed which block when.
    marginal = np.zeros(int(attributes_of(group)["columns"]))
    for block in range(len(done)):
        marginal += np.asarray(array_of(group, "partial_context_weight")[block])
    kept = np.flatnonzero(marginal > 0)
    data = store.read(f"operators/{key}")
    operator = ExpectationOperator(
        StoredBlocks(group, kept),
        data["input_weight"].to_numpy(),
        marginal[kept],
        data["context_value"].to_numpy()[kept],
    )
    order = read_order(group)
    return StoredOperator(
        operator,
        None if order is None else order.kept(kept),
        dict(attributes_of(group).get("details", {})),
    )
