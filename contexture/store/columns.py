"""One value a row in the store: names, weights and targets, written and read piece by piece."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import zarr

from contexture.corpus import Corpus
from contexture.store.base import slug
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
    array, start = _column(group, name, n, dtype, attributes), 0
    for block in blocks:
        array[start : start + len(block)] = block
        start += len(block)


def write_targets(group: zarr.Group, corpus: Corpus, targets: tuple[TargetColumn, ...]) -> str:
    """Write all targets in one pass over the corpus; returns what stands for their content.

    Raises
    ------
    CorpusError
        If a numeric target is infinite.
    """
    arrays, digests, observed = [], [], [0] * len(targets)
    for t in targets:
        dtype = "int64" if t.kind == "class" else "float64"
        attributes = {"name": t.name, "kind": t.kind, "levels": list(t.levels)}
        arrays.append(_column(group, f"target {slug(t.name)}", corpus.rows, dtype, attributes))
        digests.append(hashlib.sha256(json.dumps([t.name, t.kind, t.levels]).encode()))
    start = 0
    for block in corpus.target_blocks(targets):
        for i, values in enumerate(block):
            arrays[i][start : start + len(values)] = values
            digests[i].update(np.ascontiguousarray(values).tobytes())
            observed[i] += TargetColumn.observed(values)
        start += len(block[0])
    for array, seen in zip(arrays, observed, strict=True):
        array.attrs["observed"] = seen
    return hashlib.sha256("".join(d.hexdigest() for d in digests).encode()).hexdigest()[:16]


def _column(
    group: zarr.Group, name: str, n: int, dtype: str, attributes: dict[str, Any]
) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=(n,),
        chunks=(min(COLUMN_ROWS, n),),
        dtype=dtype,
        dimension_names=("sample",),
        attributes=attributes,
    )
