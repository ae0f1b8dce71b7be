"""Moments of a context in the store: two halves of every block of rows, drawn by chance.

A half of a block is one chunk of each array. There is a ledger for each purpose, ``done``, in which
a block is entered last, as with the rows of an operator. Nothing grows with the number of rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr

from contexture.contexts.base import ConditionalRows
from contexture.corpus import Target
from contexture.errors import StoreError
from contexture.inputs import FloatArray
from contexture.lazy import LazyBlocks
from contexture.moments import HALVES, Moments, unit_of
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
            ("gram", (draws, blocks, HALVES, m, m), ("draw", "block", "half", "row", "column")),
            ("marginal", (draws, blocks, HALVES, m), ("draw", "block", "half", "column")),
        ):
            chunks = (1, 1, 1, *shape[3:])
            group.create_array(
                name, shape=shape, chunks=chunks, dtype="float64", dimension_names=dimensions
            )
        _vectors(group, (blocks, HALVES), {"mass": "float64", "count": "int64"})
        _vectors(group, (blocks,), {"done": "int8"})
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
                shape=(draws, blocks, HALVES, m, q),
                chunks=(1, 1, 1, m, q),
                dtype="float64",
                dimension_names=("draw", "block", "half", "column", f"function {number}"),
            )
            for name in ("total", "square"):
                group.create_array(
                    f"{name} {number}",
                    shape=(blocks, HALVES, q),
                    chunks=(1, HALVES, q),
                    dtype="float64",
                    dimension_names=("block", "half", f"function {number}"),
                )
        _vectors(group, (blocks,), {"done": "int8"})
        group.attrs.update({"shifts": list(map(float, shifts)), "prepared": True})

    return _prepared(store, f"operators/{key}/tasks-{tasks_key}", lay_out)


def stored_shifts(store: Store, key: str, tasks_key: str) -> list[float] | None:
    """Return what is subtracted from the targets that are laid out; None if none are."""
    found = attributes_of(store.find(f"operators/{key}/tasks-{tasks_key}"))
    return [float(shift) for shift in found["shifts"]] if found.get("prepared") else None


def _vectors(group: zarr.Group, shape: tuple[int, ...], kinds: dict[str, str]) -> None:
    for name, kind in kinds.items():
        group.create_array(
            name,
            shape=shape,
            chunks=(1, *shape[1:]),
            dtype=kind,
            dimension_names=("block", "half")[: len(shape)],
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


def write_moments(store: Store, key: str, block: int, found: Sequence[Sequence[Moments]]) -> None:
    """Write the moments of a block of rows, ``found[draw][half]``, and enter it as done."""
    with storage_errors(store.url):
        group = _open(store, f"operators/{key}")
        for draw, halves in enumerate(found):
            for half, each in enumerate(halves):
                array_of(group, "gram")[draw, block, half] = each.gram
                array_of(group, "marginal")[draw, block, half] = each.marginal
        array_of(group, "mass")[block] = [each.mass for each in found[0]]
        array_of(group, "count")[block] = [each.rows for each in found[0]]
        array_of(group, "done")[block] = 1


def write_task_moments(
    store: Store,
    key: str,
    tasks_key: str,
    block: int,
    found: Sequence[Sequence[Sequence[TaskMoments]]],
) -> None:
    """Write the moments of the targets over one block: ``found[draw][half][target]``."""
    with storage_errors(store.url):
        group = _open(store, f"operators/{key}/tasks-{tasks_key}")
        for draw, halves in enumerate(found):
            for half, targets in enumerate(halves):
                for number, each in enumerate(targets):
                    array_of(group, f"cross {number}")[draw, block, half] = each.cross
        # The same for all draws, and one chunk for both halves.
        for number, both in enumerate(zip(*found[0], strict=True)):
            array_of(group, f"total {number}")[block] = [h.total for h in both]
            array_of(group, f"square {number}")[block] = [h.square for h in both]
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
        self._counts, self._masses = (
            np.asarray(array_of(group, name)[:]) for name in ("count", "mass")
        )

    def context_values(self, draw: int) -> np.ndarray[Any, Any]:
        """Names of the references of a draw, shape (m,)."""
        return np.asarray(self._store.read(f"operators/{self._key}")["context_value"][draw])

    @property
    def masses(self) -> FloatArray:
        """Σ p(x) of the halves of the blocks, one after the other, shape (2 × blocks,)."""
        return self._masses.ravel()

    def halves(self, draw: int) -> Iterator[Moments]:
        """Moments of the two halves of the first block of a draw, of those of the next, and so on.

        Raises
        ------
        StoreError
            If they were removed since they were opened.
        """
        for block, half in itertools.product(range(self.blocks), range(HALVES)):
            found = Moments(
                int(self._counts[block, half]),
                float(self._masses[block, half]),
                np.asarray(array_of(self._group, "marginal")[draw, block, half]),
                np.asarray(array_of(self._group, "gram")[draw, block, half]),
                self.unit,
            )
            require_written(self._group, block)
            yield found

    def total(self, draw: int) -> Moments:
        """Moments of all rows; blocks are added in order, whoever computed which when."""
        halves = self.halves(draw)
        total = next(halves)
        for each in halves:
            total = total + each
        return total

    def marginals(self, draw: int) -> np.ndarray[Any, Any]:
        """Σ p(x) P(·|x) of each half, as `masses`, shape (2 × blocks, m)."""
        found = np.asarray(array_of(self._group, "marginal")[draw]) * self.unit
        return found.reshape(-1, found.shape[-1])

    def tasks(self, tasks_key: str, target: int, draw: int) -> Sequence[TaskMoments]:
        """Moments of a target, as `halves`; each is read whenever it is asked for."""
        group = _open(self._store, f"operators/{self._key}/tasks-{tasks_key}")
        return _TaskBlocks(group, target, draw)


class _TaskBlocks(LazyBlocks[TaskMoments]):
    """Moments of a target: all halves at once would be large where it has many classes."""

    def __init__(self, group: zarr.Group, target: int, draw: int) -> None:
        self._group, self._cross, self._draw = group, array_of(group, f"cross {target}"), draw
        self._total = np.asarray(array_of(group, f"total {target}")[:])
        self._square = np.asarray(array_of(group, f"square {target}")[:])

    def __len__(self) -> int:
        return len(self._total) * HALVES

    def block(self, number: int) -> TaskMoments:
        """Read the moments of one half of a block."""
        block, half = divmod(number, HALVES)
        cross = np.asarray(self._cross[self._draw, block, half])
        require_written(self._group, block)
        return TaskMoments(cross, self._total[block, half], self._square[block, half])
