"""The exact worst case of theory.md §6, by its one-dimensional convex dual."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum


def exact_worst_case(operator: ExpectationOperator, encoder: np.ndarray, epsilon: float) -> float:
    """min_{η >= 0} λ_max((I − Π) + η (T T* − (1−ε)² I)) on the functions of mean zero."""
    M = operator.normalised()
    M = np.asarray(M.toarray() if hasattr(M, "toarray") else M)
    root = np.sqrt(operator.input_weights)
    basis = np.linalg.qr(np.column_stack([root, np.eye(len(root))]))[0][:, 1 : len(root)]
    K = basis.T @ (M @ M.T) @ basis
    span = basis.T @ (root[:, None] * encoder)
    Q = np.linalg.qr(span)[0]
    rest = np.eye(len(K)) - Q @ Q.T

    def dual(eta: float) -> float:
        return float(np.linalg.eigvalsh(rest + eta * (K - (1 - epsilon) ** 2 * np.eye(len(K))))[-1])

    # The dual is convex in η; its minimum is bracketed by doubling.
    high = 1.0
    while dual(2 * high) < dual(high) and high < 1e12:
        high *= 2
    found = optimize.minimize_scalar(
        dual, bounds=(0, 2 * high), method="bounded", options={"xatol": 1e-11 * high}
    )
    return float(min(found.fun, dual(0.0)))


def top_encoder(spectrum: Spectrum, rank: int) -> np.ndarray:
    return np.asarray(spectrum.left[:, :rank])
