"""Sampling error of a spectrum where rows were only kept as moments of groups.

The sums h_g,i = Σ_{x in g} p(x) ψ_i(x) of whole groups take the place of the influence ψ of single
rows (`contexture.estimators.influence`): the linearised delete-a-group jackknife.
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


def group_covariance(influences: FloatArray) -> FloatArray:
    """Covariance of the s_i² over inputs, G/(G−1) Σ_g h_g h_gᵀ, from G groups of rows.

    To first order, leaving out group g moves s_i² by −h_g,i G/(G−1); the delete-a-group
    jackknife (G−1)/G Σ_g of the squares of that is the formula. It assumes that rows are an
    independent sample dealt to groups at random, or in an order that means nothing, and that
    groups have about equal mass. Rows in a meaningful order (by time, by site) make groups that
    differ more than samples do: the error then includes what differs between them.

    A standard error from G groups is itself known to about 1/√(2G − 2) of its size; intervals
    take the quantiles of Student's t with G − 1 degrees of freedom. The rank is at most G − 1.

    Parameters
    ----------
    influences : ndarray of shape (G, k)
        From `group_influence`, one of at least two groups a row.

    Returns
    -------
    ndarray of shape (k, k)
    """
    if influences.ndim != 2 or len(influences) < 2:
        raise InputError(
            f"the influences of groups have shape {influences.shape}; one row for each of at "
            "least two groups is needed."
        )
    groups = len(influences)
    return np.asarray(groups / (groups - 1) * (influences.T @ influences))
