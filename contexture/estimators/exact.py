"""Exact spectra of operators that fit in memory.

The trivial pair is never searched for: every connected part C of a sparse operator has the
exact singular pair (√p_X on C, √p_A on C) with s = 1. Parts are solved apart, so that equal
values in different parts cannot be confused, and the functions that tell parts from each other
are written down in closed form.
"""

from __future__ import annotations

from collections.abc import Callable

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
    firm,
    merge,
    positions_by_part,
)
from contexture.inputs import FloatArray
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum, fix_signs_in_place

NOISE_FLOOR = 1e-10
"""s_i² below this is rounding (Gram matrices in float64): it counts as 0, without functions."""

GRAM_LIMIT = 1500
"""Smaller side of a sparse part up to which its Gram matrix is formed; above: block Lanczos."""

DENSE_SIDE = 5000
"""The same for a dense operator."""


def exact_spectrum(
    operator: ExpectationOperator,
    rank: int = 512,
    functions: int | None = None,
    left_functions: bool = True,
) -> Spectrum:
    """Decompose an operator to machine precision.

    Parameters
    ----------
    operator : ExpectationOperator
        P is read into memory.
    rank : int
        Number of singular values wanted; at most min(n, m) − 1 exist beside the trivial one.
    functions : int, optional
        How many singular functions to keep; all by default.
    left_functions : bool
        Whether those on the inputs are wanted. Of a tall operator only those that are kept are
        made.

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
    wanted = min(rank, min(n, m) - 1)
    kept = wanted if functions is None else min(functions, wanted)
    on_x = kept if left_functions else 0
    solve = _by_parts if sparse.issparse(operator.conditional()) else _as_a_whole
    (values, left, right), ones, method = solve(operator, wanted, on_x)
    # Rounding must not pass for a spectrum: τ of pure noise would look like an answer.
    eigenvalues = np.where(values > NOISE_FLOOR, np.minimum(values, 1.0), 0.0)
    left /= np.sqrt(operator.input_weights)[:, None]
    right /= np.sqrt(operator.context_weights)[:, None]
    left[:, eigenvalues[:on_x] == 0], right[:, eigenvalues == 0] = np.nan, np.nan
    covariance = covariance_of(operator, eigenvalues, right, np.float64)
    right = right if kept == wanted else right[:, :kept].copy()
    fix_signs_in_place(left, right)
    return Spectrum(
        singular_values=np.sqrt(eigenvalues),
        left=left,
        right=right,
        eigenvalue_covariance=covariance,
        input_weights=operator.input_weights,
        context_weights=operator.context_weights,
        context_values=operator.context_values,
        total_association=operator.total_association,
        components=ones,
        method=method,
        noise_floor=NOISE_FLOOR,
        numerical_error=np.full(wanted, NOISE_FLOOR),
    )


def _as_a_whole(operator: ExpectationOperator, wanted: int, on_x: int) -> tuple[Triplets, int, str]:
    """As `_by_parts`, of a dense operator."""
    M = operator.normalised()
    u, v = np.sqrt(operator.input_weights), np.sqrt(operator.context_weights)
    found = gram(M, u, v, wanted, on_x)
    ones = count_ones(found[0], min(M.shape), lambda: _gram(M))
    return found, ones, "exact: dense Gram matrix"


def _by_parts(operator: ExpectationOperator, wanted: int, on_x: int) -> tuple[Triplets, int, str]:
    """Top triplets, with ``on_x`` left vectors; how many s_i are 1, the trivial one included."""
    n, m = operator.shape
    p_x, p_a = operator.input_weights, operator.context_weights
    root_x, root_a = np.sqrt(p_x), np.sqrt(p_a)
    parts, of_x, of_a = connected_parts(firm(operator.conditional(), p_x, p_a, n))
    M = operator.normalised()  # not before: to find the parts takes more room than M
    ones = contrasts(root_x, root_a, of_x, of_a, parts, wanted, on_x)
    rest = wanted - len(ones[0])
    found = [(ones, np.arange(n), np.arange(m))]
    members = list(zip(positions_by_part(of_x, parts), positions_by_part(of_a, parts), strict=True))
    for rows, columns in members if rest else ():
        count = min(rest, len(rows) - 1, len(columns) - 1)
        if count < 1:
            continue
        piece = M if parts == 1 else M[rows][:, columns]
        # Within a part, √p_X and √p_A scaled to length 1 are the trivial pair.
        u, v = root_x[rows], root_a[columns]
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        values, left, right = gram(piece, u, v, count, max(0, on_x - len(ones[0])))
        # None is above those in closed form, which come first.
        found.append(((np.minimum(values, 1.0), left, right), rows, columns))
    method = "exact: " + ("Gram matrices" if len(found) > 1 else "connected parts in closed form")
    # One part is the whole already.
    whole = found[1][0] if parts == 1 and len(found) > 1 else merge(found, n, m, wanted, on_x)
    # Parts may be joined as faintly as rounding: those are told by their values.
    nearly = int(np.sum(whole[0][len(ones[0]) :] > 1 - NOISE_FLOOR))
    if rest and len(ones[0]) + nearly == wanted:  # there may be more
        of_parts = (
            1 if min(len(r), len(c)) == 1 else _ones_of(_gram(M[r][:, c])) for r, c in members
        )
        return whole, sum(of_parts), method
    return whole, parts + nearly, method


def count_ones(values: FloatArray, side: int, gram: Callable[[], FloatArray]) -> int:
    """Count the singular values that are 1 to rounding, the trivial one included.

    Parameters
    ----------
    values : ndarray of shape (k,)
        The largest s_i² of a dense operator, the trivial one left out.
    side : int
        How many there are, with it.
    gram : callable
        Gives the Gram matrix, for where all that are known are 1, so that there may be more.
    """
    ones = int(np.sum(values > 1 - NOISE_FLOOR))
    return 1 + ones if ones < len(values) or ones == side - 1 else _ones_of(gram())


def _ones_of(G: FloatArray) -> int:
    # All of them: the driver that picks by value loses some where very many are equal.
    return int(np.sum(linalg.eigvalsh(G, check_finite=False) > 1 - NOISE_FLOOR))


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


def _gram(M: Rows) -> FloatArray:
    """M Mᵀ or Mᵀ M, whichever is smaller, dense."""
    G = M @ M.T if M.shape[0] <= M.shape[1] else M.T @ M
    return G if isinstance(G, np.ndarray) else np.asarray(G.toarray())


def gram(M: Rows, u: FloatArray, v: FloatArray, count: int, left: int | None = None) -> Triplets:
    """Eigenvectors of the Gram matrix on the smaller side, the trivial pair taken off.

    Only the first ``left`` vectors on the inputs are given, and made where they are the longer;
    all by default.
    """
    n, m = M.shape
    on_x = count if left is None else min(left, count)
    wide = n <= m
    G, trivial = _gram(M), u if wide else v
    G -= np.outer(trivial, trivial)
    values, vectors = top_of(G, count)
    del G
    # Beside a small value the solver leaves some of the trivial vector, and M magnifies it.
    vectors = vectors - np.outer(trivial, trivial @ vectors)
    scale = np.sqrt(np.where(values > NOISE_FLOOR, values, np.nan))
    vectors[:, np.isnan(scale)] = np.nan
    across = count if wide else on_x
    other: FloatArray = np.asarray((M.T if wide else M) @ vectors[:, :across])
    other /= scale[:across]
    if wide:
        return values, vectors if on_x == count else vectors[:, :on_x].copy(), other
    return values, other, vectors
