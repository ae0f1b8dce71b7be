"""Operators in row blocks, as the tests of products on Dask workers need them."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import cloudpickle
import numpy as np
from scipy import sparse

from contexture.estimators.products import Products
from contexture.operator import ExpectationOperator

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import tests


TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}


class Watched(Sequence):
    """Blocks that note in a folder who read which, and can be told to kill their reader."""

    def __init__(self, blocks: Sequence, folder: Path) -> None:
        self.blocks, self.folder = blocks, folder

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, block: int) -> object:
        deadly = self.folder / "deadly"
        try:
            lives = int(deadly.read_text())
        except FileNotFoundError:
            (self.folder / f"{block}-{os.getpid()}-{uuid.uuid4().hex}").touch()
            return self.blocks[block]
        deadly.write_text(str(lives - 1)) if lives > 1 else deadly.unlink()
        os.kill(os.getpid(), signal.SIGKILL)

    def counts(self) -> list[int]:
        """How often each block was read since the last call."""
        found = [int(path.name.split("-")[0]) for path in self.folder.iterdir()]
        for path in self.folder.iterdir():
            path.unlink()
        return np.bincount(found, minlength=len(self)).tolist()


class Made(Sequence):
    """Blocks that are computed when they are read, so that n is as large as one likes."""

    def __init__(self, blocks: int, rows: int, columns: int) -> None:
        self.blocks, self.rows, self.columns = blocks, rows, columns

    def __len__(self) -> int:
        return self.blocks

    def __getitem__(self, block: int) -> np.ndarray:
        P = np.random.default_rng(block).random((self.rows, self.columns))
        return P / P.sum(axis=1, keepdims=True)


def blocked(operator: ExpectationOperator, rows: int, folder: Path | None = None) -> object:
    P = operator.conditional()
    blocks = [P[i : i + rows] for i in range(0, P.shape[0], rows)]
    return ExpectationOperator(
        blocks if folder is None else Watched(blocks, folder),
        operator.input_weights,
        operator.context_weights,
    )


def sparse_operator(n: int = 600, m: int = 400, parts: int = 3) -> ExpectationOperator:
    generator = np.random.default_rng(5)
    columns = generator.integers(0, m // parts, (n, 5)) * parts + np.arange(n)[:, None] % parts
    P = sparse.coo_array(
        (generator.random(5 * n), (np.repeat(np.arange(n), 5), columns.ravel())), shape=(n, m)
    ).tocsr()
    P = sparse.csr_array(P / P.sum(axis=1)[:, None])
    return ExpectationOperator.from_conditional(P, generator.random(n))


def dense_operator(n: int, m: int) -> ExpectationOperator:
    P = np.random.default_rng(6).random((n, m)) ** 8
    return ExpectationOperator.from_conditional(P / P.sum(axis=1, keepdims=True))


OPERATORS = {
    "sparse": blocked(sparse_operator(), 64),
    "dense": blocked(dense_operator(150, 40), 19),
    "wide": blocked(sparse_operator(200, 500), 33),
    "wide and dense": blocked(dense_operator(30, 90), 4),
    "one block": sparse_operator(50, 50),
}


def vectors(operator: ExpectationOperator, dtype: type, width: int = 7) -> np.ndarray:
    generator = np.random.default_rng(8)
    return generator.normal(size=(min(operator.shape), width)).astype(dtype)


def near(found: np.ndarray, expected: np.ndarray, dtype: type) -> None:
    assert found.dtype == dtype
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()


def whole(products: Products, V: np.ndarray) -> np.ndarray:
    pieces = list(products.other(V))
    ends = [rows.stop for rows, _ in pieces]
    assert [rows.start for rows, _ in pieces] == [0, *ends[:-1]]
    assert ends[-1] == max(products.shape)
    return np.concatenate([values for _, values in pieces])


class Lazy(Sequence):
    """Blocks that come into being when they are read."""

    def __init__(self, P: object, rows: int) -> None:
        self.P, self.rows = P, rows

    def __len__(self) -> int:
        return -(-self.P.shape[0] // self.rows)

    def __getitem__(self, i: int) -> object:
        if i >= len(self):
            raise IndexError
        return self.P[i * self.rows : (i + 1) * self.rows]


def lazy(operator: ExpectationOperator, rows: int = 97) -> ExpectationOperator:
    """The same operator, its blocks read one at a time."""
    return ExpectationOperator(
        Lazy(operator.conditional(), rows), operator.input_weights, operator.context_weights
    )


def neighbours(n: int, K: int, D: int = 3, seed: int = 0, m: int | None = None) -> sparse.csr_array:
    """P of a neighbourhood graph with uneven weights, shape (n, n) or (n, m)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D))
    A = X if m is None else rng.normal(size=(m, D))
    distances = ((X[:, None] - A[None]) ** 2).sum(-1)
    chosen = np.argsort(distances, axis=1, kind="stable")[:, :K]
    data = rng.uniform(0.5, 1.5, size=(n, K))
    data /= data.sum(axis=1, keepdims=True)
    return sparse.csr_array(
        (data.ravel(), chosen.ravel(), np.arange(0, n * K + 1, K)), shape=(n, len(A))
    )
