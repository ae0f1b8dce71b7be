"""How strongly a context is associated with the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse
from scipy.spatial import distance

from contexture.contexts.base import Rows
from contexture.contexts.reference import read_rows
from contexture.errors import InputError
from contexture.inputs import FloatArray, IntArray, RowsOfX
from contexture.operator import ExpectationOperator
from contexture.scores.usefulness import Abstention

Association: TypeAlias = Literal["weak", "moderate", "strong"]

STRONG = 1 / 2
"""Strong: the values fall by a factor e over more than this part of d_0 components."""

WEAK = 1 / 20
"""Weak: they do so over less than this part of d_0."""

TEMPORARY_BYTES = 64 * 2**20
"""What `kernel_deviation` may hold beside one block of rows."""


def verdict(rate: float, max_rank: int, abstention: Abstention = "") -> Association:
    """Name the strength of an association by the number of components 1/λ it spreads over.

    Strong if 1/λ >= d_0/2, weak if 1/λ <= d_0/20, moderate between. On the paper's example
    (abalone, d_0 = 512) this calls KNN with K = 150, 30, 5 weak, moderate and strong, as the
    paper does.

    Parameters
    ----------
    rate : float
        λ from `contexture.scores.decay_rate`.
    max_rank : int
        d_0 as it was used.
    abstention : {"", "too weak", "too strong"}
        Of `contexture.scores.usefulness`; the two never contradict each other.
    """
    if abstention:
        return "strong" if abstention == "too strong" else "weak"
    if rate * max_rank <= 1 / STRONG:
        return "strong"
    return "weak" if rate * max_rank >= 1 / WEAK else "moderate"


@dataclass(frozen=True)
class Sampled:
    """A mean or a maximum over pairs of inputs, all of them or a sample.

    Attributes
    ----------
    value : float
    standard_error : float
        Of sampling inputs; 0 if all were used, NaN where none can be given (a maximum).
    rows : int
        How many inputs were looked at.
    """

    value: float
    standard_error: float
    rows: int


def kernel_deviation(
    operator: ExpectationOperator,
    max_rows: int = 2048,
    seed: int = 0,
    places: IntArray | None = None,
) -> Sampled:
    """E |k_X⁺(x,x') − 1| over independent x, x' ~ P_X (paper, Section 5); small = weak.

    Parameters
    ----------
    operator : ExpectationOperator
    max_rows : int
        Above this many inputs, x runs over a sample drawn from P_X; x' always over all.
    seed : int
        Seed of the sample.
    places : ndarray of shape (n,), optional
        Where in the operator each input stands, if it has another order than the sample's.

    Returns
    -------
    Sampled
        In [0, 2].
    """
    n, _ = operator.shape
    everything = n <= max_rows
    if everything:
        rows, weights = np.arange(n), operator.input_weights
    else:
        p = operator.input_weights
        rows = _draw(p if places is None else p[places], max_rows, seed, 0xDE)
        rows = rows if places is None else places[rows]
        weights = np.full(max_rows, 1.0 / max_rows)
    of_row = _row_deviation(operator, rows)
    error = 0.0 if everything else float(of_row.std(ddof=1) / np.sqrt(len(rows)))
    return Sampled(float(weights @ of_row), error, len(rows))


def _row_deviation(operator: ExpectationOperator, rows: IntArray) -> FloatArray:
    """Σ_x' p(x') |k_X⁺(x,x') − 1| for every x in ``rows``, x' streaming by in row blocks."""
    n, m = operator.shape
    found = np.empty(len(rows))
    first = operator.blocks[0]
    # Sampled rows of a dense P fill a part of the room; if there are too many, more passes.
    share = len(rows) if sparse.issparse(first) else max(1, TEMPORARY_BYTES // 5 // (8 * m))
    del first
    for start in range(0, len(rows), share):
        part = slice(start, start + share)
        other = operator.over_marginal(operator.rows_at(rows[part])).T
        if sparse.issparse(other):
            other = sparse.csr_array(other)
        width = other.shape[1]
        total = np.zeros(width)
        chunk = max(1, TEMPORARY_BYTES // 4 // (16 * width))
        for weights, block in _weighted_pieces(operator, chunk):
            kernel = block @ other
            if isinstance(kernel, sparse.csr_array):
                # |0 − 1| = 1 wherever nothing is stored, and the weights add up to 1.
                change = np.abs(kernel.data - 1.0)
                change -= 1.0
                change *= np.repeat(weights, np.diff(kernel.indptr))
                total += np.bincount(kernel.indices, change, width)
                total += weights.sum()
            else:
                kernel -= 1.0
                np.abs(kernel, out=kernel)
                total += weights @ kernel
        found[part] = total
    return found


def _weighted_pieces(
    operator: ExpectationOperator, chunk: int
) -> Iterator[tuple[FloatArray, Rows]]:
    """P with its input weights, at most ``chunk`` rows at a time."""
    start = 0
    for block in operator.blocks:
        for at in range(0, block.shape[0], chunk):
            piece = block[at : at + chunk]
            yield operator.input_weights[start : start + piece.shape[0]], piece
            start += piece.shape[0]


def lipschitz_constant(
    operator: ExpectationOperator,
    X: RowsOfX,
    max_rows: int = 1000,
    seed: int = 0,
    places: IntArray | None = None,
) -> Sampled:
    """Lipschitz constant of the dual kernel in x, on a sample of inputs; large = strong.

    max over i < j and k of |k_X⁺(x_k, x_i) − k_X⁺(x_k, x_j)| / ‖x_i − x_j‖, pairs of equal x
    left out: their quotient has no meaning.

    Parameters
    ----------
    operator : ExpectationOperator
    X : array of shape (n, D)
        The inputs.
    max_rows : int
        Sample size; all inputs if there are no more.
    seed : int
        Seed of the sample.
    places : ndarray of shape (n,), optional
        Where in the operator each row of X stands, if it has another order.

    Returns
    -------
    Sampled
        Non-negative; NaN if all sampled inputs coincide. As a maximum over a sample it can
        only be too small.

    Raises
    ------
    InputError
        If X and the operator do not have the same number of rows.
    """
    n, _ = operator.shape
    if X.shape[0] != n:
        raise InputError(f"X has {X.shape[0]} rows, but the operator has {n}.")
    if n <= max_rows:
        rows = np.arange(n)
    else:
        generator = np.random.default_rng([seed, 0x11])
        rows = np.sort(generator.choice(n, max_rows, replace=False))
    points = read_rows(X, rows)
    stored = rows if places is None else places[rows]
    value = steepest(operator.kernel(stored, stored), points)
    return Sampled(value, 0.0 if len(rows) == n else float("nan"), len(rows))


def steepest(kernel: FloatArray, points: FloatArray) -> float:
    """Largest |k(x_k, x_i) − k(x_k, x_j)| / ‖x_i − x_j‖ among some inputs.

    Parameters
    ----------
    kernel : ndarray of shape (r, r)
        k_X⁺ among the inputs.
    points : ndarray of shape (r, D)

    Returns
    -------
    float
        NaN if all inputs coincide.
    """
    steps = distance.pdist(kernel, "chebyshev")  # max over k, for every i < j
    apart = distance.pdist(points)
    distinct = apart > 0
    return float(np.max(steps[distinct] / apart[distinct])) if distinct.any() else float("nan")


def _draw(weights: FloatArray, size: int, seed: int, tag: int) -> np.ndarray:
    generator = np.random.default_rng([seed, tag])
    return np.sort(generator.choice(len(weights), size, replace=True, p=weights))
