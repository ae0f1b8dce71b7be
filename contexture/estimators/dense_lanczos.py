"""The top of a dense operator in memory, by wide-block Lanczos.

Where every entry takes part in every product, a filter costs more than the columns that it saves,
and BLAS-3 is fastest on wide blocks: `contexture.estimators.kernel_lanczos` serves here, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from contexture.estimators.kernel_lanczos import BLOCK, extra, top_pairs
from contexture.estimators.kernel_ritz import refined
from contexture.estimators.products import SLICE_ROWS, BlockProducts
from contexture.estimators.solution import FLOORS, SINGLE_LIMIT, Settings, Solution
from contexture.inputs import Floats
from contexture.operator import ExpectationOperator

ROUNDING = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
"""Of an s_i², added to every bound."""

_ONES = 1e-4
"""Values so near to 1 are computed again in float64, so that those equal to 1 can be told."""


class DenseProducts:
    """Products with a dense M that is held in one type; `contexture.estimators.products.Products`.

    Parameters
    ----------
    operator : ExpectationOperator
        Dense, in memory.
    dtype : float32 or float64
        Of M. A block in another type is multiplied in its own, more slowly.
    """

    def __init__(self, operator: ExpectationOperator, dtype: npt.DTypeLike) -> None:
        self.shape = operator.shape
        self._own = BlockProducts(operator)
        self._M = np.empty(self.shape, dtype)
        left, over = np.sqrt(operator.input_weights), 1.0 / np.sqrt(operator.context_weights)
        start = 0
        for block in operator.blocks:
            rows = slice(start, start + block.shape[0])
            np.multiply(block, over.astype(dtype), out=self._M[rows], casting="same_kind")
            self._M[rows] *= left[rows, None].astype(dtype)
            start = rows.stop

    def gram(self, V: Floats) -> Floats:
        """G V."""
        if V.dtype != self._M.dtype:
            return self._own.gram(V)
        M = self._M if self.shape[1] <= self.shape[0] else self._M.T
        return np.asarray(M.T @ (M @ V))

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V or Mᵀ V, by slices of rows."""
        M = self._M if self.shape[1] <= self.shape[0] else self._M.T
        for start in range(0, len(M), SLICE_ROWS):
            rows = slice(start, min(start + SLICE_ROWS, len(M)))
            yield rows, M[rows] @ V


def solve_dense(
    operator: ExpectationOperator, count: int, settings: Settings
) -> tuple[DenseProducts, Solution] | None:
    """Solve for the top of G on the smaller side, in float32 where that is enough.

    Parameters
    ----------
    operator : ExpectationOperator
        Dense, in memory, of one connected part.
    count : int
        Values wanted, below the smaller side.
    settings : Settings

    Returns
    -------
    (DenseProducts, Solution) or None
        None where the basis would not fit into ``settings.memory``.
    """
    n, m = operator.shape
    side = min(n, m)
    trivial = np.sqrt(operator.context_weights if m <= n else operator.input_weights)
    tell = settings.progress
    for dtype in map(np.dtype, (np.float32, np.float64)):
        if dtype == np.float32 and settings.tolerance < SINGLE_LIMIT:
            continue
        limit = min(side - 1, 4 * count + 2 * BLOCK)
        if settings.memory is not None:
            limit = min(limit, settings.memory // (side * dtype.itemsize))
        if limit < min(side - 1, count + extra(count) + 2 * BLOCK):
            return None
        products, rounding = DenseProducts(operator, dtype), ROUNDING[dtype]
        pairs = top_pairs(
            products.gram,
            trivial,
            count,
            max(settings.tolerance - rounding, settings.tolerance / 2),
            dtype,
            seed=settings.seed,
            limit=limit,
            progress=None if tell is None else lambda used, _: tell(used, limit),  # noqa: B023
        )
        if dtype == np.float64 or pairs.errors.max() + rounding <= settings.tolerance:
            break
    ones = int(np.sum(pairs.values > 1 - _ONES))
    if ones and dtype == np.float32:
        pairs = refined(products.gram, trivial, pairs, ones)
    errors = pairs.errors + rounding
    return products, Solution(pairs.values, errors, pairs.vectors, FLOORS[dtype], dtype)
