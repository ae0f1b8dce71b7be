"""What the workers of `kernel_cluster` run: their share of a kernel, computed anew every time.

What is shared out are rows, or tiles of a symmetric kernel, in *groups*; sums over groups are taken
along the tree of `block_jobs`, so that they come out with the same bits on any workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contexture.estimators.block_jobs import Node, tree_sums
from contexture.estimators.kernel_marginals import marginal_sums
from contexture.estimators.kernel_strips import exponential_strips, gram_of_strips
from contexture.estimators.kernel_tiles import SymmetricTiles
from contexture.estimators.single_products import Multiply, multiply_for
from contexture.inputs import FloatArray, Floats


@dataclass(frozen=True)
class Law:
    """A kernel before its marginals are known.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    R : ndarray of shape (m, d)
        exp(x · r) is the kernel.
    weights : ndarray of shape (n,)
        P_X.
    height : int
        Rows that are worked on at a time.
    """

    X: FloatArray
    R: FloatArray
    weights: FloatArray
    height: int


@dataclass(frozen=True)
class Share:
    """What a worker needs of a kernel for its groups.

    Attributes
    ----------
    along : ndarray of shape (r, d)
    across : ndarray of shape (d, c)
        exp(along · across) is M, or Mᵀ if n < m.
    tiles : SymmetricTiles or None
        The same of a symmetric kernel, if it is one.
    strip_bytes : int
        Memory of a strip.
    work : float
    threads : int
        Multiplications that are to be done in all, and by how many threads: what decides by which
        library. Those that a worker may use change with what else it does.
    """

    along: FloatArray
    across: FloatArray
    tiles: SymmetricTiles | None
    strip_bytes: int
    work: float
    threads: int


def part(length: int, total: int, number: int) -> slice:
    """Which of so many rows, or tiles, make a group."""
    return slice(length * number // total, length * (number + 1) // total)


def marginals_of(
    law: Law, total: int, numbers: Sequence[int]
) -> tuple[list[FloatArray], dict[Node, Floats]]:
    """Log row sums of the rows of some groups, and their sums; see `marginal_sums`."""
    logs = []

    def leaf(number: int) -> FloatArray:
        rows = part(len(law.X), total, number)
        of_rows, sums = marginal_sums(law.X[rows], law.R, law.weights[rows], law.height)
        logs.append(of_rows)
        return sums

    sums = tree_sums(total, numbers, leaf)
    return logs, sums


def gram_sums(
    share: Share, vectors: Floats, total: int, numbers: Sequence[int]
) -> dict[Node, Floats]:
    """Add up Sᵀ(S V) over strips S."""
    vectors, multiply = _ready(share, vectors)

    def leaf(number: int) -> Floats:
        along = share.along[part(len(share.along), total, number)]
        return gram_of_strips(vectors, along, share.across, share.strip_bytes, 1, multiply)

    return tree_sums(total, numbers, leaf)


def tile_sums(
    share: Share, vectors: Floats, total: int, numbers: Sequence[int]
) -> dict[Node, Floats]:
    """Add up what tiles give of K V."""
    tiles = share.tiles
    if tiles is None:
        raise TypeError("these are the coordinates of a kernel that is not symmetric")
    vectors, multiply = _ready(share, vectors)

    def leaf(number: int) -> Floats:
        return tiles.product(multiply, vectors, tiles=part(len(tiles.tiles), total, number))

    return tree_sums(total, numbers, leaf)


def rows_of(share: Share, vectors: Floats, total: int, number: int) -> Floats:
    """Multiply the rows of a group."""
    vectors, multiply = _ready(share, vectors)
    along = share.along[part(len(share.along), total, number)]
    parts = exponential_strips(
        lambda strip, rows, own: multiply(strip, vectors),
        along,
        share.across,
        vectors.dtype,
        share.strip_bytes,
        1,
    )
    return np.concatenate(list(parts))


def _ready(share: Share, vectors: Floats) -> tuple[Floats, Multiply]:
    # What came over the network may be read-only, which oneDNN does not take.
    writeable: Floats = np.require(vectors, requirements="W")
    multiply = multiply_for(share.work, vectors.dtype, alone=True, threads=share.threads)
    return writeable, multiply
