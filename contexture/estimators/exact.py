"""Exact spectra of operators that fit in memory.

The trivial pair is never searched for: every connected part C of a sparse operator has the
exact singular pair (√p_X on C, √p_A on C) with s = 1. Parts are solved apart, so that equal
values in different parts cannot be confused, and the functions that tell parts from each other
are written down in closed form.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from contexture.contexts.base import Rows
from contexture.errors import InputError
from contexture.estimators.dense import top_of
from contexture.estimators.influence import covariance_of
from contexture.estimators.parts import (
    Triplets,
    connected_parts,
    contrasts,
    merge,
    positions_by_part,
)
from contexture.inputs import FloatArray
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum, fix_signs

NOISE_FLOOR = 1e-10
"""s_i² below this is rounding (Gram matrices in float64): it counts as 0, without functions."""

GRAM_LIMIT = 1500
"""Smaller side of a sparse part up to which its Gram matrix is formed; above: block Lanczos."""

DENSE_SIDE = 5000
"""The same for a dense operator."""


def exact_spectrum(operator: ExpectationOperator, rank: int = 512) -> Spectrum:
    """Decompose an operator to machine precision.

    Parameters
    ----------
    operator : ExpectationOperator
        P is read into memory.
    rank : int
        Number of singular values wanted; at most min(n, m) − 1 exist beside the trivial one.

    Returns
    -------
    Spectrum

    Raises
    ------
    InputError
        If there is only one input or one context value, so that nothing can be associated.
    """
    operator = operator.in_memory()
    n, m = operator.shape
    require_two(operator)
    M = operator.normalised()
    root_x, root_a = np.sqrt(operator.input_weights), np.sqrt(operator.context_weights)
    wanted = min(rank, min(n, m) - 1)
    if isinstance(M, sparse.csr_array):
        values, U, V, parts, method = _by_parts(M, root_x, root_a, wanted)
    else:
        values, U, V = gram(M, root_x, root_a, wanted)
        parts, method = _count_ones(M, values), "exact: dense Gram matrix"
    # Rounding must not pass for a spectrum: τ of pure noise would look like an answer.
    eigenvalues = np.where(values > NOISE_FLOOR, np.minimum(values, 1.0), 0.0)
    left, right = fix_signs(U / root_x[:, None], V / root_a[:, None])
    left[:, eigenvalues == 0], right[:, eigenvalues == 0] = np.nan, np.nan
    return Spectrum(
        singular_values=np.sqrt(eigenvalues),
        left=left,
        right=right,
        eigenvalue_covariance=covariance_of(operator, eigenvalues, right, np.float64),
        input_weights=operator.input_weights,
        context_weights=operator.context_weights,
        context_values=operator.context_values,
        total_association=operator.total_association,
        components=parts,
        method=method,
        noise_floor=NOISE_FLOOR,
        numerical_error=np.full(wanted, NOISE_FLOOR),
    )


def _by_parts(
    M: sparse.csr_array, root_x: FloatArray, root_a: FloatArray, wanted: int
) -> tuple[FloatArray, FloatArray, FloatArray, int, str]:
    n, m = M.shape
    parts, of_x, of_a = connected_parts(M)
    ones = contrasts(root_x, root_a, of_x, of_a, parts, wanted)
    rest = wanted - len(ones[0])
    found = [(ones, np.arange(n), np.arange(m))]
    members = zip(positions_by_part(of_x, parts), positions_by_part(of_a, parts), strict=True)
    for rows, columns in members if rest else ():
        count = min(rest, len(rows) - 1, len(columns) - 1)
        if count < 1:
            continue
        piece = M if parts == 1 else M[rows][:, columns]
        # Within a part, √p_X and √p_A scaled to length 1 are the trivial pair.
        u, v = root_x[rows], root_a[columns]
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        found.append((gram(piece, u, v, count), rows, columns))
    method = "exact: " + ("Gram matrices" if len(found) > 1 else "connected parts in closed form")
    return *merge(found, n, m, wanted), parts, method


def _count_ones(M: FloatArray, values: FloatArray) -> int:
    """Count the singular values of a dense M that are 1 to rounding, the trivial one included."""
    ones = int(np.sum(values > 1 - NOISE_FLOOR))
    if ones < len(values) or ones == min(M.shape) - 1:
        return 1 + ones
    # All that were wanted are 1, so there may be more.
    G = M @ M.T if M.shape[0] <= M.shape[1] else M.T @ M
    return len(linalg.eigvalsh(G, subset_by_value=(1 - NOISE_FLOOR, np.inf)))


def require_two(operator: ExpectationOperator) -> None:
    """Refuse an operator in which nothing can be associated.

    Raises
    ------
    InputError
        If there is only one input or one context value.
    """
    n, m = operator.shape
    if min(n, m) < 2:
        raise InputError(
            f"the operator has {n} input(s) and {m} context value(s); two of each are needed."
        )


def needs_gram(operator: ExpectationOperator, rank: int) -> bool:
    """Whether the exact route is the right one: few on one side, or most values wanted.

    The parts of a long operator may still be small.
    """
    side = min(operator.shape)
    wanted = min(rank, side - 1)
    blocks = operator.blocks
    dense = isinstance(blocks, tuple | list) and not sparse.issparse(blocks[0])
    return side <= (DENSE_SIDE if dense else GRAM_LIMIT) or 3 * wanted > side


def gram(M: Rows, u: FloatArray, v: FloatArray, count: int) -> Triplets:
    """Eigenvectors of the Gram matrix on the smaller side, the trivial pair taken off."""
    n, m = M.shape
    wide = n <= m
    G = M @ M.T if wide else M.T @ M
    G = G if isinstance(G, np.ndarray) else G.toarray()
    trivial = u if wide else v
    G -= np.outer(trivial, trivial)
    values, vectors = top_of(G, count)
    significant = values > NOISE_FLOOR
    # Beside a small value the solver leaves some of the trivial vector, and M magnifies it.
    vectors = vectors - np.outer(trivial, trivial @ vectors)
    other = np.full((m if wide else n, count), np.nan)
    scale = np.sqrt(values[significant])
    product = (M.T if wide else M) @ vectors[:, significant]
    other[:, significant] = product / scale
    mine = np.where(significant[None, :], vectors, np.nan)
    return (values, mine, other) if wide else (values, other, mine)
