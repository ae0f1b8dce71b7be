"""A kernel context without its negligible weights: a sparse operator with a bound.

Weights P(a|x) <= δ min(1/m, p_A(a)) are dropped and the rows normalised again. So every row
loses at most δ of its mass and every column at most δ of its share. With δ_x the mass that row
x lost, ε_a = Σ_x p_X(x) ΔP(a|x) / p_A(a), and p_A'' the new marginal, Schur's test (weights √p_X,
√p_A) and two diagonal scalings of an operator of norm 1 give, with Weyl (theory.md §10),

    |s_i − s_i''| <= ‖M − M''‖ <= √(max δ_x max ε_a) + max δ_x + max_a |1 − √(p_A''/p_A)|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from contexture.estimators.kernel_products import KernelProducts
from contexture.inputs import FloatArray
from contexture.operator import ExpectationOperator

DENSITY = 0.03
"""Share of weights kept up to which sparse products cost less than tiles."""

SAMPLE = 256
_ENTRY_BYTES = 12 * 3
"""An entry of a CSR matrix with the copies that a decomposition makes of it."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class TruncationPlan:
    """Whether weights can be dropped, from a sample of rows.

    Attributes
    ----------
    entries : int
        Weights that would be kept, estimated.
    density : float
        The same as a share of n·m.
    share : float
        δ, the mass that a row may lose.
    possible : bool
        Whether a sparse operator would be cheaper than tiles and fit into the memory.
    """

    entries: int
    density: float
    share: float
    possible: bool


@dataclass(frozen=True)
class Truncation:
    """A sparse operator and how far its spectrum may be from the whole one's.

    Attributes
    ----------
    operator : ExpectationOperator
        P in CSR, its rows adding up to 1.
    bound : float
        Bound on |s_i − s_i''|; that on the s_i² is twice as large.
    """

    operator: ExpectationOperator
    bound: float


def plan_truncation(
    products: KernelProducts, tolerance: float = 1e-5, seed: int = 0, memory: int | None = None
) -> TruncationPlan:
    """Say whether dropping weights is worth it, from a sample of rows.

    Parameters
    ----------
    products : KernelProducts
    tolerance : float
        Largest error of any s_i².
    seed : int
        Of the sample.
    memory : int, optional
        Bytes that the sparse operator and its decomposition may take.
    """
    n, m = products.shape
    share = _share(tolerance)
    size = min(n, SAMPLE)
    sample = np.random.default_rng([seed, 0x7472]).choice(n, size, replace=False)
    kept = 0
    for first in range(0, size, 64):
        P = products.conditional(sample[first : first + 64])
        kept += int(np.sum(P - _threshold(products, share) > 0))
    density = kept / (size * m)
    entries = round(density * n * m)
    fits = memory is None or entries * _ENTRY_BYTES <= memory
    return TruncationPlan(entries, density, share, density <= DENSITY and fits)


def truncate(products: KernelProducts, tolerance: float = 1e-5) -> Truncation:
    """Drop the negligible weights.

    Parameters
    ----------
    products : KernelProducts
    tolerance : float
        Largest error of any s_i² that it may make.
    """
    n, m = products.shape
    share = _share(tolerance)
    threshold = _threshold(products, share)
    p = products.input_weights
    blocks, dropped, columns = [], np.empty(n), np.zeros(m)
    height = max(1, min(512, (16 << 20) // (8 * m)))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        P = products.conditional(rows)
        kept = P - threshold > 0
        lost = np.where(kept, 0.0, P)
        dropped[rows] = lost.sum(axis=1)
        columns += p[rows] @ lost
        P -= lost
        P /= P.sum(axis=1, keepdims=True)
        blocks.append(sparse.csr_array(P))
    whole = sparse.csr_array(sparse.vstack(blocks, format="csr"))
    weights = np.asarray(whole.T @ p)
    operator = ExpectationOperator((whole,), p, weights, products.context_values)
    before = products.context_weights
    moved = np.abs(1.0 - np.sqrt(weights / before)).max()
    largest = float(dropped.max())
    bound = np.sqrt(largest * float((columns / before).max())) + largest + float(moved)
    return Truncation(operator, float(bound) + _ROUNDING)


def _share(tolerance: float) -> float:
    # The three terms of the bound are each at most about δ; s² moves by twice their sum.
    return tolerance / 7.0


def _threshold(products: KernelProducts, share: float) -> FloatArray:
    m = products.shape[1]
    return np.asarray(share * np.minimum(1.0 / m, products.context_weights))
