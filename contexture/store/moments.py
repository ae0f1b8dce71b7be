"""Moments of a context in the store: one group of rows a block, with a ledger for each purpose.

A block is one chunk of each array and its entry in the ledger ``done`` is set last, as with the
rows of an operator. Nothing here grows with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr

from contexture.contexts.base import ConditionalRows
from contexture.corpus import Target
from contexture.errors import StoreError
from contexture.lazy import LazyBlocks
from contexture.moments import Moments, unit_of
from contexture.store.base import Store, array_of, attributes_of
from contexture.store.ledger import require_written
from contexture.store.naming import as_labels, plain
from contexture.store.place import storage_errors
from contexture.task_moments import TaskMoments, count_functions


def prepare_moments(
    store: Store, key: str, evidence: Sequence[ConditionalRows], chunk_rows: int
) -> list[int]:
    """Lay out the moments of a context over its reference draws; list the blocks that are missing.

    Parameters
    ----------
    store : Store
    key : str
        Under ``operators/``.
    evidence : sequence of ConditionalRows
        One a reference draw.
    chunk_rows : int
        Rows of a block.
    """
    first = evidence[0]
    (n, m), draws = first.shape, len(evidence)
    blocks = -(-n // chunk_rows)

    def lay_out(path: str) -> None:
        group = store.group(path)
        names = np.stack([as_labels(each.context_values) for each in evidence])
        store.write(path, xr.Dataset({"context_value": (("draw", "column"), names)}), mode="a")
        for name, shape, dimensions in (
            ("gram", (draws, blocks, m, m), ("draw", "block", "row", "column")),
            ("marginal", (draws, blocks, m), ("draw", "block", "column")),
        ):
            chunks = (1, 1, *shape[2:])
            group.create_array(
                name, shape=shape, chunks=chunks, dtype="float64", dimension_names=dimensions
            )
        _vectors(group, blocks, {"mass": "float64", "count": "int64", "done": "int8"})
        group.attrs.update(
            {
                "rows": n,
                "columns": m,
                "draws": draws,
                "chunk_rows": chunk_rows,
                "unit": unit_of(first),
                "details": plain(dict(first.details)),
                "prepared": True,
            }
        )

    return _prepared(store, f"operators/{key}", lay_out)


def prepare_tasks(
    store: Store, key: str, tasks_key: str, targets: Sequence[Target], shifts: Sequence[float]
) -> list[int]:
    """Lay out the moments of the targets beside those of the context; list what is missing.

    Parameters
    ----------
    store : Store
    key : str
        Under ``operators/``; laid out already.
    tasks_key : str
        Stands for the content of the targets.
    targets : sequence of Target
    shifts : sequence of float
        What is subtracted from each of them.
    """
    shape = attributes_of(store.find(f"operators/{key}"))
    draws, m = int(shape["draws"]), int(shape["columns"])
    blocks = -(-int(shape["rows"]) // int(shape["chunk_rows"]))

    def lay_out(path: str) -> None:
        group = store.group(path)
        for number, target in enumerate(targets):
            q = count_functions(target) + 1
            group.create_array(
                f"cross {number}",
                shape=(draws, blocks, m, q),
                chunks=(1, 1, m, q),
                dtype="float64",
                dimension_names=("draw", "block", "column", f"function {number}"),
            )
            for name in ("total", "square"):
                group.create_array(
                    f"{name} {number}",
                    shape=(blocks, q),
                    chunks=(1, q),
                    dtype="float64",
                    dimension_names=("block", f"function {number}"),
                )
        _vectors(group, blocks, {"done": "int8"})
        group.attrs.update({"shifts": list(map(float, shifts)), "prepared": True})

    return _prepared(store, f"operators/{key}/tasks-{tasks_key}", lay_out)


def stored_shifts(store: Store, key: str, tasks_key: str) -> list[float] | None:
    """Return what is subtracted from the targets that are laid out; None if none are."""
    found = attributes_of(store.find(f"operators/{key}/tasks-{tasks_key}"))
    return [float(shift) for shift in found["shifts"]] if found.get("prepared") else None


def _vectors(group: zarr.Group, blocks: int, kinds: dict[str, str]) -> None:
    for name, kind in kinds.items():
        group.create_array(
            name, shape=(blocks,), chunks=(1,), dtype=kind, dimension_names=("block",)
        )


def _prepared(store: Store, path: str, lay_out: Any) -> list[int]:
    with storage_errors(store.url):
        group = store.find(path)
        if group is None or not group.attrs.get("prepared", False):
            if store.is_local:
                # Another run may be doing the same: whoever is first puts it in place.
                with store.aside() as staged:
                    lay_out(staged)
                    store.put(staged, path)
            else:
                store.remove(path)
                lay_out(path)
            group = store.group(path)
        return np.flatnonzero(np.asarray(array_of(group, "done")[:]) == 0).tolist()


def write_moments(store: Store, key: str, block: int, found: Sequence[Moments]) -> None:
    """Write the moments of one block of rows, one for each draw, and enter it as done."""
    with storage_errors(store.url):
        group = _open(store, f"operators/{key}")
        for draw, each in enumerate(found):
            array_of(group, "gram")[draw, block] = each.gram
            array_of(group, "marginal")[draw, block] = each.marginal
        array_of(group, "mass")[block] = found[0].mass
        array_of(group, "count")[block] = found[0].rows
        array_of(group, "done")[block] = 1


def write_task_moments(
    store: Store, key: str, tasks_key: str, block: int, found: Sequence[Sequence[TaskMoments]]
) -> None:
    """Write the moments of the targets over one block: ``found[draw][target]``."""
    with storage_errors(store.url):
        group = _open(store, f"operators/{key}/tasks-{tasks_key}")
        for draw, targets in enumerate(found):
            for number, each in enumerate(targets):
                array_of(group, f"cross {number}")[draw, block] = each.cross
                array_of(group, f"total {number}")[block] = each.total
                array_of(group, f"square {number}")[block] = each.square
        array_of(group, "done")[block] = 1


def _open(store: Store, path: str) -> zarr.Group:
    return zarr.open_group(store.url, path=path, mode="r+", use_consolidated=False)


class StoredMoments:
    """Moments of a context in the store, read block by block.

    Parameters
    ----------
    store : Store
    key : str
        Under ``operators/``.

    Raises
    ------
    StoreError
        If they are not there, or blocks are missing.
    """

    def __init__(self, store: Store, key: str) -> None:
        group = store.find(f"operators/{key}")
        if group is None or not group.attrs.get("prepared", False):
            raise StoreError(f"the store '{store.url}' holds no moments '{key}'.")
        done = np.asarray(array_of(group, "done")[:])
        if not done.all():
            raise StoreError(
                f"moments '{key}' lack {int(np.sum(done == 0))} of {len(done)} blocks; "
                "run the audit again, it computes only these."
            )
        self._group, self._store, self._key = group, store, key
        attributes = attributes_of(group)
        self.rows, self.draws = int(attributes["rows"]), int(attributes["draws"])
        self.unit = float(attributes["unit"])
        self.details = dict(attributes["details"])
        self.blocks = len(done)
        self.masses = np.asarray(array_of(group, "mass")[:])

    def context_values(self, draw: int) -> np.ndarray[Any, Any]:
        """Names of the references of a draw, shape (m,)."""
        return np.asarray(self._store.read(f"operators/{self._key}")["context_value"][draw])

    def groups(self, draw: int) -> Iterator[Moments]:
        """Moments of the blocks of a draw, one after the other.

        Raises
        ------
        StoreError
            If they were removed since they were opened.
        """
        for block in range(self.blocks):
            found = Moments(
                int(np.asarray(array_of(self._group, "count")[block])),
                float(self.masses[block]),
                np.asarray(array_of(self._group, "marginal")[draw, block]),
                np.asarray(array_of(self._group, "gram")[draw, block]),
                self.unit,
            )
            require_written(self._group, block)
            yield found

    def total(self, draw: int) -> Moments:
        """Moments of all rows; blocks are added in order, whoever computed which when."""
        groups = self.groups(draw)
        total = next(groups)
        for each in groups:
            total = total + each
        return total

    def marginals(self, draw: int) -> np.ndarray[Any, Any]:
        """Σ p(x) P(·|x) of each block, shape (blocks, m)."""
        return np.asarray(array_of(self._group, "marginal")[draw]) * self.unit

    def tasks(self, tasks_key: str, target: int, draw: int) -> Sequence[TaskMoments]:
        """Moments of a target, one a block; each is read whenever it is asked for."""
        group = _open(self._store, f"operators/{self._key}/tasks-{tasks_key}")
        return _TaskBlocks(group, target, draw)


class _TaskBlocks(LazyBlocks[TaskMoments]):
    """Moments of a target: all blocks at once would be large where it has many classes."""

    def __init__(self, group: zarr.Group, target: int, draw: int) -> None:
        self._group, self._cross, self._draw = group, array_of(group, f"cross {target}"), draw
        self._total = np.asarray(array_of(group, f"total {target}")[:])
        self._square = np.asarray(array_of(group, f"square {target}")[:])

    def __len__(self) -> int:
        return len(self._total)

    def block(self, number: int) -> TaskMoments:
        """Read the moments of one block."""
        cross = np.asarray(self._cross[self._draw, number])
        require_written(self._group, number)
        return TaskMoments(cross, self._total[number], self._square[number])
