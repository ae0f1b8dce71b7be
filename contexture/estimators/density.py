"""How the eigenvalues of an operator are spread, from products with a few random vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from contexture.estimators.sparse_kernels import column_dots, subtract_scaled
from contexture.inputs import FloatArray, Floats

PROBES, STEPS = 16, 24
"""Random vectors and Lanczos steps of the quadrature."""

_NEAR = 0.01
"""Nodes this share of a value away from it may stand for one value."""


@dataclass(frozen=True)
class Density:
    """Spectral density by stochastic Lanczos quadrature.

    Attributes
    ----------
    nodes, weights : ndarray of shape (q,)
        Of the quadrature, a probe after the other: about so many eigenvalues lie about there.
    values : ndarray of shape (q,)
        The nodes, descending.
    counts : ndarray of shape (q,)
        How many eigenvalues lie above each of the values.
    """

    nodes: FloatArray
    weights: FloatArray
    values: FloatArray
    counts: FloatArray

    @classmethod
    def estimate(
        cls, gram: Callable[[Floats], Floats], draw: Callable[[int], Floats], dimension: int
    ) -> Density:
        """Estimate the density of G on a space.

        Parameters
        ----------
        gram : callable
            X ↦ G X on the space.
        draw : callable
            Gives that many independent standard normal columns of the space.
        dimension : int
            Of the space.
        """
        rules = _quadratures(gram, draw, dimension)
        nodes = np.concatenate([x for x, _ in rules])
        values = np.sort(nodes)[::-1]
        counts = np.zeros(len(values))
        # Probes put their nodes at nearly the same places: all nodes in one row would make stairs
        # of what each rule by itself interpolates smoothly.
        for x, w in rules:
            # A node stands for values on both of its sides: half of its weight lies above it.
            above = np.cumsum(w) - w / 2
            counts += np.interp(-values, -x, above, left=0.0, right=dimension)
        weights = np.concatenate([w for _, w in rules])
        return cls(nodes, weights / len(rules), values, counts / len(rules))

    @property
    def top(self) -> float:
        """Largest eigenvalue, as far as the probes saw it: from below."""
        return float(self.values[0])

    def quantile(self, count: FloatArray | float) -> FloatArray:
        """Value above which ``count`` eigenvalues lie."""
        return np.asarray(np.interp(count, self.counts, self.values))

    def cut(self, above: float) -> float:
        """Value above which about ``above`` eigenvalues lie, and which is none of them itself.

        A value that comes very many times would lie on the cut, where a filter lifts nothing.
        """
        cut = float(self.quantile(above))
        near = np.abs(self.nodes - cut) < _NEAR * cut
        return cut * (1 - 10 * _NEAR) if self.weights[near].sum() > above / 2 else cut


def _quadratures(
    gram: Callable[[Floats], Floats], draw: Callable[[int], Floats], dimension: int
) -> list[tuple[FloatArray, FloatArray]]:
    """Nodes, descending, and weights of the Gauss quadrature of every probe, each for all."""
    steps = min(STEPS, dimension)
    Q = draw(min(PROBES, max(1, dimension)))
    Q /= np.sqrt(column_dots(Q, Q)).astype(Q.dtype)
    probes = Q.shape[1]
    alpha, beta = np.zeros((steps, probes)), np.zeros((steps, probes))
    before = np.zeros_like(Q)
    done = np.full(probes, steps)
    for j in range(steps):
        Y = gram(Q)
        alpha[j] = column_dots(Y, Q)
        subtract_scaled(Y, Q, alpha[j].astype(Q.dtype))
        if j:
            subtract_scaled(Y, before, beta[j - 1].astype(Q.dtype))
        beta[j] = np.sqrt(column_dots(Y, Y))
        ended = (beta[j] <= 64 * np.finfo(Q.dtype).eps) & (done == steps)
        done[ended] = j + 1
        Y /= np.maximum(beta[j], 1e-30).astype(Q.dtype)
        before, Q = Q, Y
        if (done <= j + 1).all():
            break
    rules = []
    for i in range(probes):
        d = done[i]
        values, vectors = linalg.eigh_tridiagonal(alpha[:d, i], beta[: d - 1, i])
        rules.append((values[::-1], vectors[0, ::-1] ** 2 * dimension))
    return rules
