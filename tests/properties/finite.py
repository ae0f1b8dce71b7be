"""Finite contexts of every shape, and the textbook route to their singular system."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from scipy import sparse

from contexture.operator import ExpectationOperator


@dataclass(frozen=True)
class Finite:
    """P (n, m), weights of the inputs (n,), and whether P is held as CSR."""

    P: np.ndarray
    weights: np.ndarray
    sparse: bool

    @property
    def operator(self) -> ExpectationOperator:
        held = sparse.csr_array(self.P) if self.sparse else self.P
        return ExpectationOperator.from_conditional(held, self.weights)

    def other(self) -> Finite:
        return Finite(self.P, self.weights, not self.sparse)

    @property
    def p(self) -> np.ndarray:
        return self.weights / self.weights.sum()


@st.composite
def finite_contexts(draw: st.DrawFn, most: int = 14) -> Finite:
    """Rows with zeros, parts that are never left, columns nobody chooses, rows alike."""
    n, m = draw(st.integers(2, most)), draw(st.integers(2, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    P = rng.gamma(draw(st.sampled_from([0.1, 0.5, 3.0])), size=(n, m)) + 1e-3
    P *= rng.random((n, m)) < draw(st.sampled_from([0.2, 0.5, 1.0]))
    parts = draw(st.integers(1, 3))
    if parts > 1:
        P *= rng.integers(0, parts, n)[:, None] == rng.integers(0, parts, m)[None, :]
    if draw(st.booleans()):  # rows alike give repeated and vanishing values
        P = P[rng.integers(0, draw(st.integers(1, n)), n)]
    if draw(st.booleans()):
        P[:, rng.integers(0, m)] = 0
    for row in np.flatnonzero(P.sum(axis=1) == 0):
        P[row, rng.integers(0, m)] = 1
    weights = rng.uniform(0.1, 3, n) if draw(st.booleans()) else np.ones(n)
    P /= P.sum(axis=1, keepdims=True)
    columns = np.flatnonzero(P.sum(axis=0) > 0)
    if len(columns) == 1:  # two context values at least
        P[0] = 0
        P[0, (columns[0] + 1) % m] = 1
    return Finite(P, weights, draw(st.booleans()))


def textbook(context: Finite) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """P, p_X, p_A without empty columns, and all singular values by the SVD of M."""
    p = context.p
    P = context.P[:, context.P.sum(axis=0) > 0]
    q = P.T @ p
    M = np.sqrt(p)[:, None] * P / np.sqrt(q)[None, :]
    return P, p, q, np.linalg.svd(M, compute_uv=False)


def parts_of(P: np.ndarray) -> int:
    """Connected parts, by flooding."""
    unseen, parts = set(range(len(P))), 0
    while unseen:
        parts += 1
        rows = {unseen.pop()}
        while rows:
            columns = np.flatnonzero(P[sorted(rows)].sum(axis=0) > 0)
            touched = set(np.flatnonzero(P[:, columns].sum(axis=1) > 0).tolist())
            rows = touched & unseen
            unseen -= rows
    return parts
