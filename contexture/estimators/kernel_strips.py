"""Strips of a matrix of exponentials, computed in threads when they are needed and forgotten."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from contexture.estimators.crew import one_thread
from contexture.estimators.kernel_exponentials import LOG2_E, raise_products
from contexture.estimators.single_products import Multiply
from contexture.inputs import FloatArray, Floats

logger = logging.getLogger(__name__)

STRIP_BYTES = 96 << 20
"""Memory of one thread's strip."""

_TILE = 256
_PIECE, _PIECE_ROWS = 4096, 128
_STRIP_ROWS = 512
_CACHED_BYTES = 5 << 20
_LEAST_ROWS = 64
_ROUNDS = 4
"""Strips that a thread computes before it waits for the others."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done so far in this pass and the rows in all."""

Result = TypeVar("Result")


def in_threads(
    work: Callable[[slice, int], Result],
    count: int,
    height: int,
    threads: int,
    progress: Progress | None,
) -> Iterator[Result]:
    """Run ``work(rows, thread)`` over strips of rows; strip i is always thread i mod t's.

    Sums are thus made in one order, and the same input gives the same bits.

    Parameters
    ----------
    work : callable
        What to do with a strip.
    count, height : int
        Rows in all, and of a strip at most.
    threads : int
        Strips at a time.
    progress : callable, optional
        Called after every batch of strips.
    """
    # As many strips for every thread, so that none waits for the others at the end.
    rounds = -(-count // (height * threads))
    height = -(-count // (rounds * threads)) if rounds else height
    strips = [slice(i, min(i + height, count)) for i in range(0, count, height)]
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(strips), _ROUNDS * threads):
            batch: Sequence[slice] = strips[first : first + _ROUNDS * threads]

            def rounds_of(own: int, batch: Sequence[slice] = batch) -> list[Result]:
                return [work(rows, own) for rows in batch[own::threads]]

            # BLAS is held to one thread only while strips are computed, not while the caller
            # of a generator does something else.
            with one_thread():
                results = list(pool.map(rounds_of, range(threads)))
            for i in range(len(batch)):
                yield results[i % threads][i // threads]
            if progress is not None:
                progress(batch[-1].stop, count)


def exponential_strips(
    work: Callable[[Floats, slice, int], Result],
    along: FloatArray,
    across: FloatArray,
    dtype: npt.DTypeLike,
    strip_bytes: int,
    threads: int,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Compute exp(along · across) strip by strip, and hand every strip to ``work``, in order.

    Parameters
    ----------
    work : callable
        Called with a strip, its rows, and the number of its thread.
    along : ndarray of shape (r, d)
        Coordinates of the rows.
    across : ndarray of shape (d, c)
        Those of the columns.
    dtype : float32 or float64
        Of the strips.
    strip_bytes : int
        Memory of one strip; each thread holds one.
    threads : int
        Strips at a time.
    progress : callable, optional
        Called with the rows done and the rows in all.
    """
    columns = across.shape[1]
    height = strip_rows(strip_bytes, columns * np.dtype(dtype).itemsize)
    if np.dtype(dtype) == np.float32:
        across = across * LOG2_E

    def fill(rows: slice, own: int) -> Result:
        strip = held[own][: rows.stop - rows.start]
        points = along[rows]
        for start in range(0, columns, _TILE):
            part = slice(start, start + _TILE)
            raise_products(points, across[:, part], strip[:, part], rooms[own])
        return work(strip, rows, own)

    each = range(threads)
    held = [np.empty((height, columns), dtype) for _ in each]
    rooms = [np.empty(height * _TILE) for _ in each]
    yield from in_threads(fill, len(along), height, threads, progress)


def gram_of_strips(
    V: Floats,
    along: FloatArray,
    across: FloatArray,
    strip_bytes: int,
    threads: int,
    multiply: Multiply,
    progress: Progress | None = None,
) -> Floats:
    """Sᵀ(S V) of S = exp(along · across), strip by strip.

    Every thread has a sum of its own; they are added up in one order.

    Parameters
    ----------
    V : ndarray of shape (c, w)
        Float32 or float64, as are the strips.
    along, across, strip_bytes, threads, progress
        See `exponential_strips`.
    multiply : callable
        (A, B) ↦ A B, called in every thread.

    Returns
    -------
    ndarray of shape (c, w)
        The transpose of a C-ordered one.
    """
    V = np.asfortranarray(V)  # as oneDNN has it anyway
    sums: list[Floats] = [np.zeros(V.shape[::-1], V.dtype) for _ in range(threads)]

    def add(strip: Floats, rows: slice, own: int) -> None:
        del rows
        add_transposed(sums[own], strip, multiply(strip, V), multiply)

    for _ in exponential_strips(add, along, across, V.dtype, strip_bytes, threads, progress):
        pass
    return sum_of(sums).T


def strip_rows(strip_bytes: int, row_bytes: int) -> int:
    """Rows of a strip, within the memory and within what products are fast with."""
    return int(np.clip(strip_bytes // row_bytes, _LEAST_ROWS, _STRIP_ROWS))


def cached_rows(columns: int) -> int:
    """Rows of float64 that stay in the cache while they are worked on."""
    return int(np.clip(_CACHED_BYTES // (8 * columns), 16, _STRIP_ROWS))


def add_transposed(total: Floats, strip: Floats, T: Floats, multiply: Multiply = np.matmul) -> None:
    """Add Tᵀ strip to ``total`` in pieces, so that the temporary stays small.

    This way round the product takes a tenth less time than stripᵀ T.
    """
    if multiply is not np.matmul:
        # Some rows of the result at a time: a part of a strip would have gaps between its rows.
        for start in range(0, len(total), _PIECE_ROWS):
            rows = slice(start, start + _PIECE_ROWS)
            total[rows] += multiply(np.ascontiguousarray(T[:, rows].T), strip)
        return
    room = np.empty((T.shape[1], min(_PIECE, total.shape[1])), total.dtype)
    for start in range(0, total.shape[1], _PIECE):
        part = slice(start, min(start + _PIECE, total.shape[1]))
        total[:, part] += np.matmul(T.T, strip[:, part], out=room[:, : part.stop - start])


def sum_of(parts: Sequence[Floats]) -> Floats:
    """Add arrays up, in their order, into the first."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


class ColumnProgress:
    """Tells progress in columns of the basis; the pass that is under way, by its rows.

    Parameters
    ----------
    progress : callable or None
        Called with (done, total), whenever they change.
    expected : int
        Columns that a run takes, roughly.
    block : int
        Columns of a pass. The first one, for the marginals, counts as such.
    """

    def __init__(self, progress: Progress | None, expected: int, block: int) -> None:
        self._progress, self._block = progress, block
        self._total = block * (1 + -(-expected // block))
        self._used, self._told = 0, -1

    def rows(self, done: int, of: int) -> None:
        """Tell that so many rows of a pass are done."""
        self._tell(self._used + self._block * done // of)

    def blocks(self, columns: int, error: float) -> None:
        """Tell that the basis has so many columns."""
        logger.debug("basis of %d columns, error %.1e", columns, error)
        self._used = self._block + columns
        self._tell(self._used)

    def _tell(self, done: int) -> None:
        # More than was expected is possible; a restart goes back.
        done = min(done, self._total)
        if self._progress is not None and done != self._told:
            self._progress(done, self._total)
            self._told = done
