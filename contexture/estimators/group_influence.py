"""Sampling error of a spectrum where rows were only kept as moments of groups.

The sums h_g,i = Σ_{x in g} p(x) ψ_i(x) of whole groups take the place of the influence ψ of single
rows (`contexture.estimators.influence`). The groups are two halves of every block of rows, and a
row falls to either by chance: the difference of the halves of a block is Σ_x ε(x) p(x) ψ_i(x) with
independent signs ε = ±1, and its square has the mean Σ_x p(x)² ψ_i(x)², whatever the order of the
rows. Sums of whole blocks would differ by what the order means (time, site, a sorted column), too.
Rows are taken for an independent sample, as everywhere here: of several rows of one subject, or of
a time series, the true error is larger.
"""

from __future__ import annotations

import numpy as np

from contexture.errors import InputError
from contexture.estimators.influence import count_known
from contexture.inputs import FloatArray


def group_influence(
    gram: FloatArray, marginal: FloatArray, eigenvalues: FloatArray, right: FloatArray
) -> FloatArray:
    """Influence of a whole group g of rows on every s_i², from the moments of the group.

    h_g,i = ν_iᵀ (B_g − s_i² C_g) ν_i = Σ_{x in g} p(x) ψ_i(x). Over all groups they add up to 0
    for the spectrum of all rows together.

    Parameters
    ----------
    gram : ndarray of shape (m, m)
        B_g = Σ_{x in g} p(x) P(·|x) P(·|x)ᵀ, p(x) being the weight among *all* rows.
    marginal : ndarray of shape (m,)
        C_g = Σ_{x in g} p(x) P(·|x).
    eigenvalues : ndarray of shape (k,)
        s_i².
    right : ndarray of shape (m, r)
        ν_1 .. ν_r of all rows together, r <= k, of variance 1 under p_A; columns of NaN, and
        those that are not given, have no influence.

    Returns
    -------
    ndarray of shape (k,)
    """
    known = count_known(eigenvalues, right, len(marginal))
    if gram.shape != (len(marginal), len(marginal)):
        raise InputError(
            f"the Gram matrix of a group has shape {gram.shape}, but its marginal has "
            f"{len(marginal)} entries; one context value a row and column is needed."
        )
    functions = np.nan_to_num(right)
    influence = np.zeros(len(eigenvalues))
    influence[:known] = np.einsum("ai,ai->i", functions, gram @ functions)
    influence[:known] -= eigenvalues[:known] * (marginal @ functions**2)
    return influence


def covariance_of_halves(differences: FloatArray) -> FloatArray:
    """Covariance of the s_i² over inputs, Σ_b d_b d_bᵀ, from the halves of B blocks of rows.

    A standard error from B blocks is itself known to about 1/√(2B) of its size; intervals take the
    quantiles of Student's t with B degrees of freedom. The rank is at most B.

    Parameters
    ----------
    differences : ndarray of shape (B, k)
        d_b, a row for each block: `group_influence` of one half less that of the other. The
        influence is linear in the moments, so it may also be that of their differences.

    Returns
    -------
    ndarray of shape (k, k)

    Raises
    ------
    InputError
        If there is no block.
    """
    if differences.ndim != 2 or not len(differences):
        raise InputError(
            f"the differences of halves have shape {differences.shape}; one row for each of at "
            "least one block is needed."
        )
    return np.asarray(differences.T @ differences)
