"""Which rows are in which block, and which blocks go together: the same on any cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.errors import InputError
from contexture.estimators import block_jobs
from contexture.inputs import FloatArray, IntArray
from contexture.operator import ExpectationOperator

MOST_GROUPS = 64
"""More would be more jobs and sums than a product is worth."""

ROWS_AT_ONCE = 1 << 14
"""Rows of M V that one job gives, unless a block has more."""


@dataclass(frozen=True)
class Layout:
    """Groups of consecutive blocks of an operator.

    Parameters
    ----------
    starts : ndarray of shape (blocks + 1,)
        The row at which each block begins, and n.
    bounds : ndarray of shape (groups + 1,)
        The block at which each group begins, and the number of blocks.
    weights : ndarray of shape (n,) or float
        P_X; one number if all are equal.
    entries : int
        About how many entries P has, zeros of a dense one included.
    sparse : bool
        Whether blocks are CSR.
    """

    starts: IntArray
    bounds: IntArray
    weights: FloatArray | float
    entries: int
    sparse: bool

    @classmethod
    def of(cls, operator: ExpectationOperator, groups: int | None = None) -> Self:
        """Lay out an operator; of blocks that are read when needed, three are looked at.

        Raises
        ------
        InputError
            If the blocks do not add up to the rows of the operator, or ``groups`` is no number.
        """
        blocks, (n, m) = operator.blocks, operator.shape
        seen, starts = _measure(blocks, n)
        is_sparse = sparse.issparse(seen[0])
        rows = sum(block.shape[0] for block in seen)
        held = sum(block_jobs.entries_of(block) for block in seen)
        entries = held * n // rows
        if groups is None:
            # The sum over a group is as much work as 3 m entries; a power of two goes well with
            # the usual numbers of workers.
            groups = 1 << max(0, (min(MOST_GROUPS, entries // (2 * m))).bit_length() - 1)
            groups = min(groups, len(blocks))
        elif not 1 <= groups <= len(blocks):
            raise InputError(
                f"groups is {groups}; it must be between 1 and the number of blocks, {len(blocks)}."
            )
        bounds = np.arange(groups + 1) * len(blocks) // groups
        weights = operator.input_weights
        equal = bool((weights == weights[0]).all())
        return cls(starts, bounds, float(weights[0]) if equal else weights, entries, is_sparse)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def group(self, number: int) -> tuple[range, IntArray, FloatArray | float]:
        """Blocks of a group, their starts and the end of the last, and their part of P_X."""
        first, last = int(self.bounds[number]), int(self.bounds[number + 1])
        starts = self.starts[first : last + 1]
        weights = self.weights
        if isinstance(weights, np.ndarray):
            weights = weights[starts[0] : starts[-1]]
        return range(first, last), starts, weights

    def rows(self, blocks: range) -> slice:
        """Rows of consecutive blocks."""
        return slice(int(self.starts[blocks.start]), int(self.starts[blocks.stop]))

    def steps(self) -> list[tuple[int, range]]:
        """Cut the groups into runs of blocks with not too many rows: (group, blocks), in order."""
        found = []
        for number, (first, last) in enumerate(pairwise(self.bounds.tolist())):
            at = first
            while at < last:
                most = self.starts[at] + ROWS_AT_ONCE
                end = int(np.searchsorted(self.starts, most, side="right")) - 1
                end = min(max(end, at + 1), last)
                found.append((number, range(at, end)))
                at = end
        return found

    def size(self, dtype: np.dtype[Any]) -> int:
        """About how many bytes the blocks take when they are held in this type."""
        return self.entries * (dtype.itemsize + (4 if self.sparse else 0))


def _measure(blocks: Sequence[Rows], n: int) -> tuple[Sequence[Rows], IntArray]:
    """Look at blocks, all of them if they are in memory, and find where each begins."""
    if isinstance(blocks, list | tuple):
        starts = np.concatenate([[0], np.cumsum([block.shape[0] for block in blocks])])
        seen: Sequence[Rows] = blocks
    else:
        seen = [blocks[i] for i in sorted({0, len(blocks) // 2, len(blocks) - 1})]
        starts = np.minimum(np.arange(len(blocks) + 1) * seen[0].shape[0], n)
    if starts[-1] != n or (np.diff(starts) < 1).any():
        raise InputError(
            f"the operator has {n} rows, which its {len(blocks)} blocks do not add up to; all "
            "blocks but the last must have the same number of rows."
        )
    return seen, starts
