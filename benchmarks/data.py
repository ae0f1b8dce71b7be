"""Generated data: rows of a Gaussian mixture, and KNN operators on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from contexture.contexts.distances import nearest
from contexture.inputs import FloatArray, IntArray

CHUNK = 131_072
"""Rows drawn by one generator: row i is the same however many rows are drawn."""

CENTRES = 32
EXACT_NEIGHBOURS = 30_000
"""Up to this many rows neighbours are exact; above, pynndescent finds 0.9999 of them."""


def mixture_chunks(n: int, D: int = 16, seed: int = 0) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Draw rows of a Gaussian mixture, at most `CHUNK` at a time.

    32 centres from N(0, I), with widths between 0.5 and 1.5: clusters that overlap.

    Parameters
    ----------
    n, D : int
        Rows and columns.
    seed : int

    Yields
    ------
    X : ndarray of shape (r, D)
    target : ndarray of shape (r,)
        A number that depends on the cluster and on the place in it, with noise.
    """
    law = np.random.default_rng([seed, 0xC])
    centres = law.normal(size=(CENTRES, D))
    widths = law.uniform(0.5, 1.5, CENTRES)
    direction = law.normal(size=D) / np.sqrt(D)
    for i, start in enumerate(range(0, n, CHUNK)):
        draw = np.random.default_rng([seed, i])
        cluster = draw.integers(0, CENTRES, CHUNK)
        X = centres[cluster] + widths[cluster, None] * draw.normal(size=(CHUNK, D))
        target = centres[cluster, 0] + X @ direction + draw.normal(0, 0.5, CHUNK)
        rows = min(CHUNK, n - start)
        yield X[:rows], target[:rows]


def mixture(n: int, D: int = 16, seed: int = 0) -> FloatArray:
    """Draw n rows of the mixture at once, shape (n, D)."""
    return np.concatenate([X for X, _ in mixture_chunks(n, D, seed)])


def neighbours(X: FloatArray, k: int, seed: int = 0) -> IntArray:
    """Nearest neighbours of every row among all rows, itself first; shape (n, k)."""
    n = len(X)
    if n <= EXACT_NEIGHBOURS:
        step = max(1, 2**24 // n)
        parts = [
            nearest(X[i : i + step], X, k, np.arange(i, min(i + step, n)), True)
            for i in range(0, n, step)
        ]
        return np.concatenate(parts)
    import pynndescent  # slow to import: only where it is needed

    index = pynndescent.NNDescent(
        X.astype(np.float32), n_neighbors=k, random_state=seed, low_memory=True
    )
    found = np.asarray(index.neighbor_graph[0], dtype=np.int64)
    own = found == np.arange(n)[:, None]
    found[~own.any(axis=1), -1] = np.flatnonzero(~own.any(axis=1))
    return found


def knn_matrix(n: int, k: int, folder: Path, D: int = 16, seed: int = 0) -> Path:
    """Path of P of a KNN context on n rows of the mixture; computed if it is not there yet.

    Returns
    -------
    Path
        To be read by `scipy.sparse.load_npz`.
    """
    path = folder / f"knn-n{n}-k{k}-d{D}-s{seed}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        columns = np.sort(neighbours(mixture(n, D, seed), k, seed), axis=1).astype(np.int32)
        pointers = np.arange(0, n * k + 1, k, dtype=np.int32)
        P = sparse.csr_array((np.full(n * k, 1.0 / k), columns.ravel(), pointers), shape=(n, n))
        part = path.with_suffix(".part.npz")
        sparse.save_npz(part, P, compressed=False)
        part.rename(path)
    return path
