"""Left functions that are written block by block after all else of a context.

They lie with its results, which count only once every block is there. What an interrupted run had
of them goes over to the next one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from contexture.inputs import Floats, Labels
from contexture.spectrum import LEFT_NAME
from contexture.store.base import Store, array_of, attributes_of
from contexture.store.copies import copy_tasks
from contexture.store.naming import as_labels, plain
from contexture.store.place import storage_errors
from contexture.store.results import point_to

BLOCK_BYTES = 32 * 2**20
"""Size of a block."""

_LEDGER = "left_done"


def prepare_left(store: Store, path: str, ids: Labels) -> None:
    """Lay out the left functions beside the right ones.

    Parameters
    ----------
    store : Store
    path : str
        Group of the context in its run; not complete yet.
    ids : array of shape (n,)
        Names of the inputs.
    """
    n = len(ids)
    with storage_errors(store.url):
        group = store.group(path)
        right = array_of(group, "right")
        r = int(right.shape[1])
        rows = max(1, min(n, BLOCK_BYTES // (right.dtype.itemsize * max(1, r))))
        names = xr.Dataset(coords={"sample": as_labels(np.asarray(ids[:]))})
        store.write(path, names, mode="a")
        group.create_array(
            "left",
            shape=(n, r),
            chunks=(rows, max(1, r)),
            dtype=right.dtype,
            fill_value=float("nan"),
            dimension_names=("sample", "function"),
            attributes={"long_name": LEFT_NAME},
        )
        group.create_array(
            _LEDGER,
            shape=(-(-n // rows),),
            chunks=(1,),
            dtype="int8",
            dimension_names=("left_block",),
        )
        group.attrs["left_prepared"] = True


def missing_left(store: Store, path: str) -> list[slice]:
    """List the rows whose left functions are not written, one slice a block; none if all are."""
    group = store.group(path)
    if _LEDGER not in group:
        return []
    n, rows = int(array_of(group, "left").shape[0]), int(array_of(group, "left").chunks[0])
    blocks = np.flatnonzero(np.asarray(array_of(group, _LEDGER)[:]) == 0).tolist()
    return [slice(b * rows, min((b + 1) * rows, n)) for b in blocks]


def write_left(store: Store, path: str, start: int, values: Floats) -> None:
    """Write one block, shape (rows, functions), whose first row is ``start``."""
    with storage_errors(store.url):
        group = store.group(path)
        left = array_of(group, "left")
        left[start : start + len(values)] = values
        array_of(group, _LEDGER)[start // int(left.chunks[0])] = 1


def finish_left(store: Store, path: str) -> None:
    """Let the results of a context count, now that all blocks are there."""
    with storage_errors(store.url):
        group = store.group(path)
        if _LEDGER in group:
            del group[_LEDGER]
        group.attrs["complete"] = True


def take_over(
    store: Store, run: str, name: str, key: str, attributes: Mapping[str, Any] | None = None
) -> bool:
    """Move what an interrupted run had of a context, all but some left functions, into this run.

    Only a store of this machine can do that; elsewhere they are computed again.

    Parameters
    ----------
    store : Store
    run, name : str
        Where the results go.
    key : str
        From `contexture.store.results.result_key`.
    attributes : mapping, optional
        Of this run's context, in place of those of the other's.
    """
    source = attributes_of(store.find(f"results/{key}"))
    old_run, old_name = str(source.get("run", "")), str(source.get("context", ""))
    if "://" in store.url or not (old_run and old_name) or old_run == run:
        return False
    path = f"runs/{old_run}/contexts/{old_name}"
    found = attributes_of(store.find(path))
    ended = attributes_of(store.find(f"runs/{old_run}")).get("status") != "running"
    whole = found.get("result_key") == key and found.get("left_prepared", False)
    if found.get("complete", False) or not (ended and whole):
        return False
    copy_tasks(store, (old_run, old_name), (run, name))
    with storage_errors(store.url):
        store.group(f"runs/{run}/contexts")
        store.remove(f"runs/{run}/contexts/{name}")
        goal = f"runs/{run}/contexts/{name}"
        try:
            os.rename(os.path.join(store.url, path), os.path.join(store.url, goal))
        except FileNotFoundError:  # another run was first
            return False
        store.group(goal).attrs.update(
            {**plain(dict(attributes or {})), "context": name, "taken_from": old_run}
        )
    point_to(store, key, run, name)
    return True
