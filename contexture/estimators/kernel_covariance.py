"""Sampling error of a kernel spectrum, from rows that are computed when they are needed."""

from __future__ import annotations

import numpy as np

from contexture.estimators.influence import covariance_of
from contexture.estimators.kernel_products import KernelProducts
from contexture.inputs import FloatArray, IntArray
from contexture.lazy import LazyBlocks
from contexture.operator import ExpectationOperator

COVARIANCE_ROWS = 4096
"""Inputs from which the sampling covariance is estimated: it is right to some percent then."""


class _LazyRows(LazyBlocks):
    """Row blocks of P for some inputs, computed when they are asked for."""

    def __init__(self, products: KernelProducts, rows: IntArray) -> None:
        self.products, self.rows = products, rows
        self.height = max(16, (32 << 20) // (8 * products.shape[1]))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.height)

    def block(self, number: int) -> FloatArray:
        """Compute a block."""
        first = number * self.height
        return self.products.conditional(self.rows[first : first + self.height])


def sampled_covariance(
    products: KernelProducts, eigenvalues: FloatArray, right: FloatArray, seed: int
) -> FloatArray:
    """Estimate the sampling covariance of the s_i², from some thousand inputs if there are more."""
    n = products.shape[0]
    size = min(n, COVARIANCE_ROWS)
    generator = np.random.default_rng([seed, 0x636F])
    rows = np.arange(n) if size == n else np.sort(generator.choice(n, size, replace=False))
    operator = ExpectationOperator(
        _LazyRows(products, rows), products.input_weights[rows], products.context_weights
    )
    return covariance_of(operator, eigenvalues, right) * (n / size)
