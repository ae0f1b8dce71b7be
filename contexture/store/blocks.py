"""Row blocks of an operator, read from the store when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.errors import StoreError
from contexture.lazy import LazyBlocks
from contexture.store.base import array_of, attributes_of
from contexture.store.ledger import removed, require_written


@dataclass(frozen=True)
class StoredBlocks(LazyBlocks[Rows]):
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
        shape = attributes_of(self.group)
        return -(-int(shape["rows"]) // int(shape["chunk_rows"]))

    def block(self, number: int) -> Rows:
        """Read a block.

        Raises
        ------
        StoreError
            If the operator was removed since it was opened.
        """
        try:
            rows = self._read(number)
        except (StoreError, FileNotFoundError) as error:
            raise removed(self.group.path) from error
        require_written(self.group, number)
        return rows

    def _read(self, number: int) -> Rows:
        shape = attributes_of(self.group)
        n, m, chunk_rows = shape["rows"], shape["columns"], shape["chunk_rows"]
        start = number * chunk_rows
        stop = min(start + chunk_rows, n)
        rows: Rows
        if shape["sparse"]:
            lengths = np.asarray(array_of(self.group, "row_length")[number])[: stop - start]
            pointers = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            entries = int(pointers[-1])
            rows = sparse.csr_array(
                (
                    np.asarray(array_of(self.group, "data")[number])[:entries],
                    np.asarray(array_of(self.group, "index")[number])[:entries],
                    pointers,
                ),
                shape=(stop - start, m),
            )
        else:
            rows = np.asarray(array_of(self.group, "conditional")[start:stop])
        return rows if len(self.kept) == m else rows[:, self.kept]
