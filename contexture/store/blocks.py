"""Row blocks of an operator, read from the store when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import zarr
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.store.base import array_of, attributes_of


@dataclass(frozen=True)
class StoredBlocks(Sequence[Rows]):
    """Row blocks of P in Zarr, without the columns that nobody chose.

    Parameters
    ----------
    group : zarr.Group
        Under ``operators/``.
    kept : ndarray of int
        Columns with p_A > 0.
    """

    group: zarr.Group
    kept: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return int(array_of(self.group, "done").shape[0])

    @overload
    def __getitem__(self, block: int) -> Rows: ...
    @overload
    def __getitem__(self, block: slice) -> Sequence[Rows]: ...
    def __getitem__(self, block: int | slice) -> Rows | Sequence[Rows]:
        if isinstance(block, slice):
            return [self[i] for i in range(*block.indices(len(self)))]
        if not 0 <= block < len(self):
            raise IndexError(block)
        shape = attributes_of(self.group)
        n, m, chunk_rows = shape["rows"], shape["columns"], shape["chunk_rows"]
        start = block * chunk_rows
        stop = min(start + chunk_rows, n)
        rows: Rows
        if shape["sparse"]:
            lengths = np.asarray(array_of(self.group, "row_length")[block])[: stop - start]
            pointers = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            entries = int(pointers[-1])
            rows = sparse.csr_array(
                (
                    np.asarray(array_of(self.group, "data")[block])[:entries],
                    np.asarray(array_of(self.group, "index")[block])[:entries],
                    pointers,
                ),
                shape=(stop - start, m),
            )
        else:
            rows = np.asarray(array_of(self.group, "conditional")[start:stop])
        return rows if len(self.kept) == m else rows[:, self.kept]
