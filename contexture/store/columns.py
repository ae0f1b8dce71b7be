"""One value a row in the store: names, weights and targets, written and read piece by piece."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import zarr

from contexture.corpus import Corpus
from contexture.store.naming import slug
from contexture.targets import TargetColumn

COLUMN_ROWS = 1 << 17
"""Rows of a chunk, and of a piece."""

Values: TypeAlias = np.ndarray[Any, Any]
Piecewise: TypeAlias = Callable[[slice], Values]
"""Gives the values at some rows."""


def names_of(ids: Values | None) -> Piecewise:
    """Names of the rows: their numbers where they have no others, which takes no memory."""
    if ids is None:
        return lambda rows: np.arange(rows.start, rows.stop, dtype=np.int64)
    return lambda rows: ids[rows]


def pieces(values: Piecewise, n: int) -> Iterator[Values]:
    """Values of all rows, `COLUMN_ROWS` at a time."""
    for start in range(0, n, COLUMN_ROWS):
        yield values(slice(start, min(start + COLUMN_ROWS, n)))


def write_column(
    group: zarr.Group,
    name: str,
    n: int,
    blocks: Iterator[Values],
    dtype: str,
    attributes: dict[str, Any],
) -> None:
    """Write an array over ``sample`` from blocks that come in order."""
    column = _Column(group, name, n, dtype, attributes)
    for block in blocks:
        column.add(block)
    column.end()


def write_targets(group: zarr.Group, corpus: Corpus, targets: tuple[TargetColumn, ...]) -> str:
    """Write all targets in one pass over the corpus; returns what stands for their content.

    Raises
    ------
    CorpusError
        If a numeric target is infinite.
    """
    columns, digests, observed = [], [], [0] * len(targets)
    for t in targets:
        dtype = "int64" if t.kind == "class" else "float64"
        attributes = {"name": t.name, "kind": t.kind, "levels": list(t.levels)}
        columns.append(_Column(group, f"target {slug(t.name)}", corpus.rows, dtype, attributes))
        digests.append(hashlib.sha256(json.dumps([t.name, t.kind, t.levels]).encode()))
    for block in corpus.target_blocks(targets):
        for i, values in enumerate(block):
            columns[i].add(values)
            digests[i].update(np.ascontiguousarray(values).tobytes())
            observed[i] += TargetColumn.observed(values)
    for column, seen in zip(columns, observed, strict=True):
        column.end()
        column.array.attrs["observed"] = seen
    return hashlib.sha256("".join(d.hexdigest() for d in digests).encode()).hexdigest()[:16]


class _Column:
    """An array over ``sample`` that is written in whole chunks, whatever blocks come."""

    def __init__(
        self, group: zarr.Group, name: str, n: int, dtype: str, attributes: dict[str, Any]
    ) -> None:
        self.array: zarr.Array[Any] = group.create_array(
            name,
            shape=(n,),
            chunks=(min(COLUMN_ROWS, n),),
            dtype=dtype,
            dimension_names=("sample",),
            attributes=attributes,
        )
        self._start, self._waiting = 0, np.zeros(0, dtype)

    def add(self, block: Values) -> None:
        """Take the values of the next rows."""
        self._waiting = np.concatenate([self._waiting, block])
        whole = len(self._waiting) // self.array.chunks[0] * self.array.chunks[0]
        self._write(whole)

    def end(self) -> None:
        """Write what is left."""
        self._write(len(self._waiting))

    def _write(self, count: int) -> None:
        if count:
            self.array[self._start : self._start + count] = self._waiting[:count]
            self._start, self._waiting = self._start + count, self._waiting[count:].copy()
