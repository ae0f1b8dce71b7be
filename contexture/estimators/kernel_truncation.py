"""A kernel context without its negligible weights: a sparse operator with a bound.

Weights P(a|x) <= δ min(1/m, p_A(a)) are dropped and the rows normalised again. So every row
loses at most δ of its mass and every column at most δ of its share. With δ_x the mass that row
x lost, ε_a = Σ_x p_X(x) ΔP(a|x) / p_A(a), and p_A'' the new marginal, Schur's test (weights √p_X,
√p_A) and two diagonal scalings of an operator of norm 1 give, with Weyl (theory.md §10),

    |s_i − s_i''| <= ‖M − M''‖ <= √(max δ_x max ε_a) + max δ_x + max_a |1 − √(p_A''/p_A)|

and, since exponents are rounded, what the rows of P add up to beside 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from contexture.estimators.exact import exact_spectrum, needs_gram
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_ritz import NEAR_ONE, TopPairs, equal_to_one, refined
from contexture.estimators.randomized import krylov_spectrum
from contexture.estimators.solution import Settings
from contexture.inputs import FloatArray
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum

DENSITY = 0.03
"""Share of weights kept up to which sparse products cost less than tiles."""

SAMPLE = 256
_ENTRY_BYTES = 12 * 3
"""An entry of a CSR matrix with the copies that a decomposition makes of it."""

_ROUNDING = 1e-12
_APART = 3e-5


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
    blocks, dropped, columns, uneven = [], np.empty(n), np.zeros(m), 0.0
    height = max(1, min(512, (16 << 20) // (8 * m)))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        P = products.conditional(rows)
        kept = P - threshold > 0
        lost = np.where(kept, 0.0, P)
        dropped[rows] = lost.sum(axis=1)
        # By rounding of the exponents, rows do not add up to 1 exactly.
        uneven = max(uneven, float(np.abs(P.sum(axis=1) - 1.0).max()))
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
    return Truncation(operator, float(bound) + uneven + _ROUNDING)


def truncated_spectrum(
    products: KernelProducts,
    wanted: int,
    settings: Settings,
    functions: int | None,
    left_functions: bool,
) -> Spectrum:
    """Decompose a kernel context by a sparse operator.

    Parameters
    ----------
    products : KernelProducts
    wanted : int
        Singular values.
    settings : Settings
        Of the solver; the tolerance holds for the weights that are dropped, too. The left
        functions are needed where there are fewer inputs than context values.
    functions : int, optional
        Functions that are kept.
    left_functions : bool
        Whether the left ones are.
    """
    cut = truncate(products, settings.tolerance)
    if needs_gram(cut.operator, wanted):
        spectrum = exact_spectrum(cut.operator, wanted)
    else:
        spectrum = krylov_spectrum(cut.operator, wanted, settings)
    components = spectrum.components
    ones = int(np.sum(spectrum.eigenvalues > 1 - NEAR_ONE))
    if ones and spectrum.eigenvalues[-1] < 1 - _APART:
        # Weights that were dropped may be all that held two parts together: the values near 1
        # come from the whole operator.
        tall = products.shape[1] <= products.shape[0]
        functions_of = spectrum.right if tall else spectrum.left
        weights = cut.operator.context_weights if tall else products.input_weights
        V = functions_of[:, :ones] * np.sqrt(weights)[:, None]
        trivial = np.sqrt(products.context_weights if tall else products.input_weights)
        near = TopPairs(spectrum.eigenvalues[:ones], V, np.zeros(ones), 0)
        near = refined(products.gram, trivial, near, ones)
        components = 1 + equal_to_one(near.values, products.rounding(near.values, near.vectors))
    if functions is not None:
        spectrum = spectrum.truncated(functions)
    return replace(
        spectrum,
        left=spectrum.left if left_functions else spectrum.left[:, :0],
        total_association=products.total_association,
        components=components,
        method=f"negligible weights dropped (‖ΔM‖ <= {cut.bound:.0e}); {spectrum.method}",
        numerical_error=spectrum.numerical_error + 2.0 * cut.bound,
    )


def _share(tolerance: float) -> float:
    # The three terms of the bound are each at most about δ; s² moves by twice their sum.
    return tolerance / 7.0


def _threshold(products: KernelProducts, share: float) -> FloatArray:
    m = products.shape[1]
    return np.asarray(share * np.minimum(1.0 / m, products.context_weights))
