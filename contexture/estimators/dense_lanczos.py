"""The top of a dense operator in memory, by wide-block Lanczos.

Where every entry takes part in every product, a filter costs more than the columns that it saves,
and BLAS-3 is fastest on wide blocks: `contexture.estimators.kernel_lanczos` serves here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.estimators.kernel_lanczos import BLOCK, extra, most_columns, top_pairs, work_of
from contexture.estimators.kernel_ritz import TopPairs, refined
from contexture.estimators.products import SLICE_ROWS, BlockProducts
from contexture.estimators.single_products import multiply_for
from contexture.estimators.solution import FLOORS, SINGLE_LIMIT, Settings, Solution
from contexture.inputs import FloatArray, Floats, IntArray
from contexture.operator import ExpectationOperator

ROUNDING = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
"""Of an s_i², added to every bound."""

_ONES = 1e-4
"""Values so near to 1 are computed again in float64, so that those equal to 1 can be told.

The vectors stay those of float32: parts that are joined fainter than its rounding may still count
as one.
"""


class DenseProducts:
    """Products with a dense M that is held in one type; `contexture.estimators.products.Products`.

    Parameters
    ----------
    operator : ExpectationOperator
        Dense, in memory.
    dtype : float32 or float64
        Of M. A block in another type is multiplied in its own, more slowly.
    count : int
        Values that are going to be looked for.

    Attributes
    ----------
    multiply : callable
        (A, B) ↦ A B in the fastest way for products with M in float32.
    """

    def __init__(self, operator: ExpectationOperator, dtype: npt.DTypeLike, count: int = 0) -> None:
        self.shape = operator.shape
        self.multiply = multiply_for(work_of(count, self.shape), dtype)
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
        return self.multiply(M.T, self.multiply(M, np.asfortranarray(V)))

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """M V or Mᵀ V, by slices of rows."""
        M = self._M if self.shape[1] <= self.shape[0] else self._M.T
        for start in range(0, len(M), SLICE_ROWS):
            rows = slice(start, min(start + SLICE_ROWS, len(M)))
            yield rows, M[rows] @ V


def solve_dense(
    operator: ExpectationOperator, count: int, settings: Settings, labels: IntArray
) -> tuple[DenseProducts, Solution] | None:
    """Solve for the top of G on the smaller side, in float32 where that is enough.

    Parameters
    ----------
    operator : ExpectationOperator
        Dense, in memory.
    count : int
        Values wanted beside those that are 1 for the connected parts.
    settings : Settings
    labels : ndarray of int of shape (side,)
        Connected part of each entry of the smaller side.

    Returns
    -------
    (DenseProducts, Solution) or None
        None where the basis would not fit into ``settings.memory``.
    """
    n, m = operator.shape
    side = min(n, m)
    trivial = np.zeros((side, int(labels.max()) + 1))
    trivial[np.arange(side), labels] = np.sqrt(
        operator.context_weights if m <= n else operator.input_weights
    )
    trivial /= np.linalg.norm(trivial, axis=0)
    free = side - trivial.shape[1]
    kinds = (np.float32, np.float64) if settings.tolerance >= SINGLE_LIMIT else (np.float64,)
    found: tuple[DenseProducts, TopPairs] | None = None
    for dtype in map(np.dtype, kinds):
        found = None  # the other M makes room first
        found = _attempt(operator, trivial, min(count, free), settings, dtype)
        if found is None or found[1].errors.max() + ROUNDING[dtype] <= settings.tolerance:
            break
    if found is None:
        return None
    products, pairs = found
    ones = int(np.sum(pairs.values > 1 - _ONES))
    if ones and dtype == np.float32:
        pairs = refined(products.gram, trivial, pairs, ones)
    errors = pairs.errors + ROUNDING[dtype]
    return products, Solution(pairs.values, errors, pairs.vectors, FLOORS[dtype], dtype)


def _attempt(
    operator: ExpectationOperator,
    trivial: FloatArray,
    count: int,
    settings: Settings,
    dtype: np.dtype[Any],
) -> tuple[DenseProducts, TopPairs] | None:
    """Solve in one type, if the basis fits."""
    side, free = len(trivial), len(trivial) - trivial.shape[1]
    limit = min(free, most_columns(count))
    if settings.memory is not None:
        limit = min(limit, settings.memory // (side * dtype.itemsize))
    if limit < min(free, count + extra(count) + 2 * BLOCK):
        return None
    products, tell = DenseProducts(operator, dtype, count), settings.progress
    pairs = top_pairs(
        products.gram,
        trivial,
        count,
        max(settings.tolerance - ROUNDING[dtype], settings.tolerance / 2),
        dtype,
        seed=settings.seed,
        limit=limit,
        progress=None if tell is None else lambda used, _: tell(used, limit),
        multiply=products.multiply,
    )
    return products, pairs
