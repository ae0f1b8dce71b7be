"""Products with a kernel among the rows themselves: half of its tiles serve for all of it.

Where the context values are the inputs, M = D₁ K D₂ with a symmetric K and diagonal D₁, D₂,

    K(x, a) = exp(−γ‖x − a‖²),    D₁(x) = p_X(x)^½ exp(−L(x)),    D₂(a) = p_A(a)^−½,

so MᵀM V = D₂ K D₁² K D₂ V. Each of the two products takes the upper triangle of K, whose tiles
serve twice while they are in the cache. A strip of M would serve both halves of MᵀM V too, and
take as many exponentials, but goes to memory and back in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np

from contexture.estimators.crew import Crew
from contexture.estimators.kernel_exponentials import LOG2_E, raise_products
from contexture.estimators.kernel_gaussians import gaussians
from contexture.estimators.kernel_strips import Progress
from contexture.estimators.single_products import Multiply
from contexture.inputs import FloatArray, Floats

LEAST_ROWS = 128
"""Rows of a tile at least, and so of the whole."""

_EDGE = 1024
"""Rows of a tile at most."""

_TILES = 8
"""Tiles wanted for every thread."""

_PIECE = 128
"""Rows of a tile that stay in a near cache from their exponents to their entries."""

_TURN = 4
"""Tiles that a thread takes at a time."""

_FEW_COORDINATES = 48
"""Up to which squared differences take less time than a product of coordinates in float64."""

_LARGEST_NORM = 16.0
"""Of points in float32, in widths of the kernel: rounding moves each by 1e-6 widths at most."""

_LARGEST_LOG = 20.0
"""Of the scales, in the middle 1: beyond, squares would come near the ends of float32."""


class SymmetricTiles:
    """Products with MᵀM, in float32, of a kernel among the rows themselves.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        x and a, in units in which exp(−½ ‖x − a‖²) is the kernel; at least `LEAST_ROWS`.
    log_rows, log_columns : ndarray of shape (n,)
        log D₁, log D₂.
    threads : int
        Tiles at a time.

    Attributes
    ----------
    possible : bool
        Whether float32 has room for the scales.
    blocks : list of slice
        Rows of the tiles.
    tiles : list of (int, int)
        The blocks whose rows and columns each has: the upper triangle.
    """

    def __init__(
        self, points: FloatArray, log_rows: FloatArray, log_columns: FloatArray, threads: int
    ) -> None:
        n = len(points)
        self._points, self._threads = points, threads
        self._half_norms = 0.5 * np.einsum("ij,ij->i", points, points)
        # M stays what it is if D₁ is divided by what D₂ is multiplied with.
        middle = (_middle(log_rows) - _middle(log_columns)) / 2
        logs = log_rows - middle, log_columns + middle
        self.possible = n >= LEAST_ROWS and all((np.abs(log) <= _LARGEST_LOG).all() for log in logs)
        if self.possible:
            self._rows, self._columns = (np.exp(log)[:, None] for log in logs)
        wanted = int(np.ceil(np.sqrt(2 * _TILES * threads)))
        number = max(-(-n // _EDGE), min(wanted, n // LEAST_ROWS))
        edges = [n * k // number for k in range(number + 1)]
        self._edge = -(-n // number)
        self.blocks = [slice(*pair) for pair in zip(edges[:-1], edges[1:], strict=True)]
        self.tiles = [(i, j) for i in range(number) for j in range(i, number)]

    def gram(
        self,
        V: Floats,
        multiply: Multiply,
        progress: Progress | None = None,
        product: Callable[[Floats, Progress | None], Floats] | None = None,
    ) -> Floats:
        """MᵀM V.

        Parameters
        ----------
        V : ndarray of shape (n, w)
            Float32.
        multiply : callable
            (A, B) ↦ A B, called in every thread.
        progress : callable, optional
            Called with the rows done and the rows in all, as if there were one pass.
        product : callable, optional
            (V, progress) ↦ K V, in place of `product`.
        """
        if product is None:
            product = partial(self.product, multiply)
        halves = [None if progress is None else _half(progress, len(V), k) for k in (0, 1)]
        # Scales in float32 would be those of an operator a little off: more than its rounding.
        scaled = np.empty(V.shape, np.float32)
        np.multiply(V, self._columns, out=scaled, casting="same_kind")
        result = product(scaled, halves[0])
        np.multiply(result, np.square(self._rows), out=scaled, casting="same_kind")
        result = product(scaled, halves[1])
        return np.multiply(result, self._columns, out=result, casting="same_kind")

    def product(
        self,
        multiply: Multiply,
        V: Floats,
        progress: Progress | None = None,
        tiles: slice = slice(None),
    ) -> Floats:
        """K V, or what some of the `tiles` add to it.

        Threads take a few tiles whenever they are free, since they are not equally fast; what they
        find is added up in one order, so that the same tiles give the same bits.
        """
        wanted = self.tiles[tiles]
        turns = [wanted[k : k + _TURN] for k in range(0, len(wanted), _TURN)]
        total = np.zeros_like(V)
        scratch = _Scratch(self._edge, V.shape[1])

        def work(turn: list[tuple[int, int]]) -> dict[int, Floats]:
            sums: dict[int, Floats] = {}
            room, exponents = scratch.room()
            for i, j in turn:
                rows, columns = self.blocks[i], self.blocks[j]
                tile = self._tile(rows, columns, room, exponents)
                scratch.add(sums, i, multiply, tile, V[columns])
                if i != j:
                    scratch.add(sums, j, multiply, tile.T, V[rows])
            scratch.rooms.append((room, exponents))
            return sums

        with Crew(self._threads) as crew:
            for done, sums in enumerate(crew.each(work, turns), 1):
                for block, found in sums.items():
                    part = total[self.blocks[block]]
                    part += found[: len(part)]
                scratch.products += sums.values()
                if progress is not None:
                    progress(min(_TURN * done, len(wanted)), len(wanted))
        return total

    def _tile(self, rows: slice, columns: slice, room: Floats, exponents: FloatArray) -> Floats:
        """Compute a part of K."""
        X, A = self._points[rows], self._points[columns]
        tile = room[: len(X) * len(A)].reshape(len(X), len(A))
        halves = self._half_norms[rows], self._half_norms[columns]
        near = max(half.max() for half in halves) <= _LARGEST_NORM**2 / 2
        if near and X.shape[1] <= _FEW_COORDINATES:
            unit = np.sqrt(LOG2_E / 2)
            gaussians((X * unit).astype(np.float32), (A.T * unit).astype(np.float32, "C"), tile)
            return tile
        points = np.column_stack([X, -halves[0], np.ones(len(X))])
        values = np.vstack([A.T, np.ones(len(A)), -halves[1]]) * LOG2_E
        for start in range(0, len(X), _PIECE):
            piece = slice(start, start + _PIECE)
            raise_products(points[piece], values, tile[piece], exponents, 0.0)  # K <= 1
        return tile


class _Scratch:
    """Arrays that are used again, by whatever thread is next: appending and popping are atomic."""

    def __init__(self, edge: int, width: int) -> None:
        self._edge, self._width = edge, width
        self.rooms: list[tuple[Floats, FloatArray]] = []
        self.products: list[Floats] = []

    def room(self) -> tuple[Floats, FloatArray]:
        """Give memory for a tile, and for the exponents of a piece of it."""
        with suppress(IndexError):
            return self.rooms.pop()
        return np.empty(self._edge**2, np.float32), np.empty(_PIECE * self._edge)

    def product(self) -> Floats:
        """Give memory for the product of a tile."""
        with suppress(IndexError):
            return self.products.pop()
        return np.empty((self._edge, self._width), np.float32)

    def add(
        self, sums: dict[int, Floats], block: int, multiply: Multiply, A: Floats, B: Floats
    ) -> None:
        """Add A B to the first rows of the sum of a block."""
        rows, product = slice(len(A)), self.product()
        if multiply is np.matmul:
            np.matmul(A, B, out=product[rows])
        else:
            product[rows] = multiply(A, B)
        if block in sums:
            sums[block][rows] += product[rows]
            self.products.append(product)
        else:
            sums[block] = product


def _middle(logs: FloatArray) -> float:
    return float(logs.max() + logs.min()) / 2


def _half(progress: Progress, rows: int, number: int) -> Progress:
    """Tell the tiles of one of two products as rows of a pass."""
    return lambda done, of: progress(round(rows * (number + done / of) / 2), rows)
