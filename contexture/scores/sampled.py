"""Association of a context whose operator is not held, from a sample of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from contexture.contexts.base import ConditionalRows, Rows
from contexture.contexts.rbf import RbfRows
from contexture.contexts.reference import read_rows
from contexture.inputs import FloatArray, IntArray, RowsOfX
from contexture.scores.association import Sampled, steepest

SAMPLED_ROWS = 1000
"""Rows among which the kernel deviation and the Lipschitz constant are taken."""

PANEL_BYTES = 32 * 2**20
"""Size of some columns of the sampled rows: all of a dense context among all rows are too many."""


def sampled_association(
    context_weights: FloatArray, evidence: ConditionalRows, X: RowsOfX, seed: int
) -> tuple[Sampled, Sampled]:
    """Take kernel deviation and Lipschitz constant among a sample of rows.

    Parameters
    ----------
    context_weights : ndarray of shape (m,)
        P_A over all rows; 0 where no row chose the value.
    evidence : ConditionalRows
        Of a context over references.
    X : array of shape (n, D)
    seed : int
        Seed of the sample.

    Returns
    -------
    Sampled
        E |k_X⁺(x,x') − 1|, as `contexture.scores.kernel_deviation`: over all pairs if there are no
        more rows than a sample has, else the mean over pairs of different draws from P_X.
    Sampled
        The Lipschitz constant of the kernel, as `contexture.scores.lipschitz_constant`.
    """
    weights = evidence.input_weights
    n = len(weights)
    everything = n <= SAMPLED_ROWS
    positions = np.arange(n) if everything else draw_positions(weights, seed)
    points = read_rows(X, positions)
    kernel = _kernel(evidence, positions, points, context_weights)
    away = np.abs(kernel - 1.0)
    if everything:
        deviation = Sampled(float(weights @ away @ weights), 0.0, n)
    else:
        size = len(positions)
        # A draw and itself are no pair: k(x, x), times 1/size, would be added to the mean.
        of_row = (away.sum(axis=1) - away.diagonal()) / (size - 1)
        # Both x and x' are from the sample: twice the error of one mean, to first order.
        error = float(2.0 * of_row.std(ddof=1) / np.sqrt(size))
        deviation = Sampled(float(of_row.mean()), error, size)
    error = 0.0 if everything else float("nan")
    return deviation, Sampled(steepest(kernel, points), error, len(positions))


def draw_positions(weights: FloatArray, seed: int) -> IntArray:
    """Draw positions of rows from P_X, independently, in ascending order."""
    n, generator = len(weights), np.random.default_rng([seed, 0x5A])
    if weights.strides == (0,):  # one weight for all: nothing of size n is needed
        return np.sort(generator.integers(n, size=SAMPLED_ROWS))
    return np.sort(generator.choice(n, SAMPLED_ROWS, replace=True, p=weights))


def rows_at(evidence: Any, positions: IntArray, points: FloatArray) -> Rows:
    """Return the rows of P at a few positions, where X is ``points``."""
    references = getattr(getattr(evidence, "plain", evidence), "positions", None)
    own = None
    if references is not None:
        places = np.minimum(np.searchsorted(references, positions), len(references) - 1)
        own = np.where(references[places] == positions, places, -1)
    rows: Rows = evidence.rows_of(points, own)
    return rows


def _kernel(
    evidence: ConditionalRows, positions: IntArray, points: FloatArray, weights: FloatArray
) -> FloatArray:
    """k_X⁺ among some inputs."""
    chosen = weights > 0
    over = np.divide(1.0, weights, out=np.zeros_like(weights), where=chosen)
    if isinstance(evidence, RbfRows):
        total = np.zeros((len(points), len(points)))
        for columns, part in evidence.panels(points, max(1, PANEL_BYTES // (8 * len(points)))):
            total += (part * over[columns]) @ part.T
        return total
    rows = rows_at(evidence, positions, points)
    scaled = rows * over
    product: Any = scaled @ rows.T
    return np.asarray(product.toarray() if sparse.issparse(product) else product)
