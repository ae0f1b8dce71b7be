"""Spectrum of a context over m values from its moments: one dense eigenproblem of size m."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from contexture.contexts.base import ConditionalRows
from contexture.errors import InputError
from contexture.estimators.dense import top_of
from contexture.estimators.exact import NOISE_FLOOR, count_ones
from contexture.estimators.group_influence import covariance_of_halves, group_influence
from contexture.estimators.parts import contrasts, positions_by_part
from contexture.estimators.routes import MOMENT_BLOCKS
from contexture.inputs import FloatArray
from contexture.moments import HALVES, Moments, halves_of, masses, tiles, unit_of
from contexture.spectrum import Spectrum, fix_signs, fix_signs_in_place


def moment_spectrum(
    moments: Moments,
    rank: int = 512,
    halves: Iterable[Moments] = (),
    context_values: npt.NDArray[Any] | None = None,
    input_weights: FloatArray | None = None,
) -> Spectrum:
    """Decompose an operator of which only the moments over its m context values are known.

    diag(p_A)^-½ E[P Pᵀ] diag(p_A)^-½ = MᵀM has the s_i² as its eigenvalues (theory.md §1, §2).

    Parameters
    ----------
    moments : Moments
        Of all rows.
    rank : int
        Number of singular values beside the trivial one; at most m − 1, less the values that
        no row chose.
    halves : iterable of Moments, optional
        Moments of the two halves of the first block of rows, of those of the next, and so on; all
        add up to ``moments``. Rows fall to halves by chance; what their halves differ by gives the
        sampling covariance of the s_i² (`contexture.estimators.group_influence`). Taken one after
        the other; zeros without them.
    context_values : ndarray of shape (m,), optional
        Names of the values; 0 .. m-1 by default.
    input_weights : ndarray of shape (n,), optional
        P_X, kept with the spectrum; equal by default.

    Returns
    -------
    Spectrum
        Without left functions; `Spectrum.extend` gives them at any rows.

    Raises
    ------
    InputError
        If fewer than two context values were chosen by any row, or a half has no other.
    """
    p = moments.context_weights
    kept = np.flatnonzero(p > 0)
    m = len(kept)
    if m < 2:
        raise InputError(
            f"the operator has {moments.rows} input(s) and {m} context value(s); "
            "two of each are needed."
        )
    p = p[kept]
    root = np.sqrt(p)
    G = moments.second_moment()[np.ix_(kept, kept)]
    number, of = csgraph.connected_components(sparse.csr_array(G != 0), directed=False)
    parts = int(number)
    G /= root[:, None]
    G /= root[None, :]
    wanted = min(rank, m - 1, max(1, moments.rows - 1))
    values, vectors = _by_parts(G, root, of, parts, wanted)
    eigenvalues = np.where(values > NOISE_FLOOR, np.minimum(values, 1.0), 0.0)
    _, right = fix_signs(np.empty((0, 0)), vectors / root[:, None])
    right[:, eigenvalues == 0] = np.nan
    names = np.arange(len(moments.marginal)) if context_values is None else context_values
    weights = input_weights
    if weights is None:
        weights = np.broadcast_to(1.0 / moments.rows, (moments.rows,))
    return Spectrum(
        singular_values=np.sqrt(eigenvalues),
        left=np.empty((len(weights), 0)),
        right=right,
        eigenvalue_covariance=_covariance(halves, moments, kept, eigenvalues, right),
        input_weights=weights,
        context_weights=p,
        context_values=names[kept],
        total_association=moments.total_association,
        # Weights may join parts as faintly as rounding: those are told by their values.
        components=max(parts, count_ones(values, m, lambda: G)),
        method="moments of the context values, one dense eigenproblem",
        noise_floor=NOISE_FLOOR,
        numerical_error=np.full(len(eigenvalues), NOISE_FLOOR),
    )


def streamed_spectrum(
    evidence: ConditionalRows, rank: int = 512, left_functions: bool = True
) -> Spectrum:
    """Decompose a context over few values in memory, its rows streaming by.

    Two passes over the rows, for the sum of their moments and for the halves that give the
    sampling covariance, and a third for the left functions. P is never held; the left functions
    are: 8 bytes for every input and value wanted, as much as P where all are.

    Parameters
    ----------
    evidence : ConditionalRows
    rank : int
        As `moment_spectrum`, whose errors are raised.
    left_functions : bool
        Whether μ_i on the inputs are wanted; nothing of size n × rank is held without them.
    """
    n, m = evidence.shape
    edges = np.unique(np.linspace(0, n, MOMENT_BLOCKS + 1).astype(int)).tolist()
    weights = evidence.input_weights

    def moments(first: int, last: int) -> tuple[Moments, Moments]:
        one, other = (Moments.zero(m, unit_of(evidence)) for _ in range(HALVES))
        for rows in tiles(first, last, m):
            P, p = evidence.rows(rows.start, rows.stop), masses(weights, rows)
            chosen, left = halves_of(rows)
            one, other = one.add(P[chosen], p[chosen]), other.add(P[left], p[left])
        return one, other

    total = operator.add(*moments(0, n))
    halves = itertools.chain.from_iterable(moments(*pair) for pair in itertools.pairwise(edges))
    spectrum = moment_spectrum(total, rank, halves, evidence.context_values, weights)
    if not left_functions:
        return spectrum
    kept = np.flatnonzero(total.context_weights > 0)
    left = np.empty((n, spectrum.right.shape[1]))
    for rows in tiles(0, n, m):
        left[rows] = spectrum.extend(evidence.rows(rows.start, rows.stop)[:, kept])
    right = spectrum.right.copy()
    fix_signs_in_place(left, right)
    return replace(spectrum, left=left, right=right)


def _by_parts(
    G: FloatArray, root: FloatArray, of: np.ndarray, parts: int, wanted: int
) -> tuple[FloatArray, FloatArray]:
    """Top eigenpairs of G without its trivial one, each connected part solved apart."""
    ones, _, vectors = contrasts(root, root, of, of, parts, wanted, 0)
    values = [ones]
    columns = [vectors]
    rest = wanted - len(ones)
    for members in positions_by_part(of, parts) if rest else ():
        count = min(rest, len(members) - 1)
        if count < 1:
            continue
        piece = G if parts == 1 else G[np.ix_(members, members)]
        trivial = root[members] / np.linalg.norm(root[members])
        piece = piece - np.outer(trivial, trivial)
        found, inside = top_of(piece, count)
        inside = inside - np.outer(trivial, trivial @ inside)
        outside = np.zeros((len(root), count))
        outside[members] = inside
        values.append(found)
        columns.append(outside)
    together = np.concatenate(values)
    top = np.argsort(-together, kind="stable")[:wanted]
    return together[top], np.concatenate(columns, axis=1)[:, top]


def _covariance(
    halves: Iterable[Moments],
    total: Moments,
    kept: np.ndarray,
    eigenvalues: FloatArray,
    right: FloatArray,
) -> FloatArray:
    differences, remaining = [], iter(halves)
    for one in remaining:
        other = next(remaining, None)
        if other is None:
            raise InputError(
                "the moments of 1 half of a block have no other half; two are needed of each."
            )
        difference = one - other
        # Among all rows, as the sums that the eigenvalues come from.
        gram = difference.second_moment(total.mass)[np.ix_(kept, kept)]
        marginal = difference.marginal[kept] * (total.unit / total.mass)
        differences.append(group_influence(gram, marginal, eigenvalues, right))
    if not differences:
        return np.zeros((len(eigenvalues), len(eigenvalues)))
    return covariance_of_halves(np.stack(differences))
