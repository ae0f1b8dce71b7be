"""Reference sets: the rows of the corpus that serve as context values (theory.md §2).

With all rows as references the context is the usual whole-graph one. With m rows drawn by the
seed it estimates the population context, and costs n·m instead of n².
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from contexture.contexts.base import Context
from contexture.errors import ContextError, InputError
from contexture.features import HUGE
from contexture.inputs import FloatArray, IntArray, Labels, RowsOfX


class ReferenceContext(Context):
    """A context whose values are rows of the corpus: all of them, or a drawn sample."""

    reference: Annotated[int, Field(ge=2)] | Literal["all"] | None = Field(
        default=None,
        title="Reference rows",
        description="Number of rows drawn by the seed that serve as context values, or all. If "
        "left out: all, and beyond 50 000 rows a number chosen by the plan (but for a KNN context "
        "with a fixed K, which needs all).",
        json_schema_extra={"position": 50},
    )

    def reference_size(self, n: int) -> int:
        """m, the number of context values on n rows.

        Raises
        ------
        ContextError
            If more references are asked for than there are rows.
        """
        if not isinstance(self.reference, int):
            return n
        if self.reference > n:
            raise ContextError(
                f"context '{self.label}': reference is {self.reference}, but the corpus has only "
                f"{n} rows; choose at most {n}, or leave it out to use all rows."
            )
        return self.reference

    def draws(self, n: int) -> bool:
        """Whether the references are a drawn sample."""
        return self.draws_references(n)

    def draws_references(self, n: int) -> bool:
        """Whether the references are a drawn sample, whatever else may be drawn."""
        return isinstance(self.reference, int) and self.reference < n

    @property
    def can_shrink(self) -> bool:
        """Whether the context means the same over fewer references; not so with a fixed K."""
        return getattr(self, "k", None) is None

    @property
    def reference_suffix(self) -> str:
        """Part of the default name that tells a drawn reference set from all rows."""
        return f"-m{self.reference}" if isinstance(self.reference, int) else ""


_HASHED_ROWS = 1 << 17
"""Names hashed at a time, so that a draw from many rows holds few of them."""


def draw_reference(ids: Labels, size: int, seed: int, draw: int = 0) -> IntArray:
    """Draw ``size`` rows by the hash of their ids, in row order.

    The rows with the smallest keyed hashes are taken. So the draw is uniform, does not depend on
    the order of the rows, and changes little when rows are appended.

    Parameters
    ----------
    ids : array of shape (n,)
        Names of the rows; read in slices.
    size : int
        m <= n.
    seed, draw : int
        Key of the hash: another draw is independent of the others.

    Returns
    -------
    ndarray of shape (m,)
        Positions, ascending.
    """
    n = len(ids)
    if size == n:
        return np.arange(n, dtype=np.int64)
    key = [seed, 0x5EED] if draw == 0 else [seed, 0x5EED, draw]
    hash_key = np.random.default_rng(key).bytes(8).hex()
    hashes, positions = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    for start in range(0, n, _HASHED_ROWS):
        part = np.asarray(ids[start : start + _HASHED_ROWS])
        values = np.asarray([str(i) for i in part.tolist()], dtype=object)
        new = pd.util.hash_array(values, hash_key=hash_key, categorize=False)
        hashes = np.concatenate([hashes, new])
        positions = np.concatenate([positions, np.arange(start, start + len(part))])
        # Equal hashes (one in 2^64) fall back to row order: the sort is stable.
        smallest = np.argsort(hashes, kind="stable")[:size]
        hashes, positions = hashes[smallest], positions[smallest]
    return np.sort(positions).astype(np.int64)


def own_positions(positions: IntArray, start: int, stop: int) -> IntArray:
    """Where each of the rows stands among the references; −1 if it is none of them."""
    rows = np.arange(start, stop)
    found = np.searchsorted(positions, rows)
    found = np.minimum(found, len(positions) - 1)
    return np.where(positions[found] == rows, found, -1)


def new_rows(
    X: npt.ArrayLike, own: npt.ArrayLike | None, references: RowsOfX
) -> tuple[FloatArray, IntArray]:
    """Check inputs from outside of the corpus, and where they stand among the references.

    Raises
    ------
    InputError
        If the shapes do not fit, or X is not finite, or so far out that squares overflow.
    """
    matrix = np.asarray(X, dtype=np.float64)
    m, D = references.shape
    if matrix.ndim != 2 or matrix.shape[1] != D:
        raise InputError(
            f"the inputs have shape {matrix.shape}; one row an input and {D} features are needed."
        )
    if not np.isfinite(matrix).all():
        raise InputError("the inputs hold NaN or infinite values; give finite numbers.")
    if np.ma.is_masked(X):
        raise InputError("the inputs hold masked values; give finite numbers.")
    _require_near(matrix, np.asarray(references[:1], dtype=np.float64))
    if own is None:
        return matrix, np.full(len(matrix), -1, dtype=np.int64)
    places = np.asarray(own, dtype=np.int64)
    if places.shape != (len(matrix),) or (places < -1).any() or (places >= m).any():
        raise InputError(
            f"own needs one number an input, from 0 to {m - 1}, or -1 for an input that is no "
            "reference."
        )
    return matrix, places


def _require_near(X: FloatArray, reference: FloatArray) -> None:
    # Rows of one corpus lie within HUGE of its first row, so within twice that of each other.
    with np.errstate(over="ignore"):
        far = np.argwhere(np.abs(X - reference) > 2 * HUGE)
    if far.size:
        row, column = far[0]
        raise InputError(
            f"input {row} is {X[row, column]:.3g} in feature {column}, and its distances to the "
            "references cannot be squared in floating point; give inputs within "
            f"{2 * HUGE:g} of them."
        )


def require_finite(X: FloatArray, start: int = 0) -> None:
    """Refuse rows of X that are not finite: `Features` made without `from_array` may hold some.

    Parameters
    ----------
    X : ndarray of shape (r, D)
    start : int
        Number of the first row, for the message.

    Raises
    ------
    InputError
        Naming the first bad entry.
    """
    finite = np.isfinite(X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InputError(
            f"X is {X[row, column]} at row {start + row}, column {column}; every entry must be "
            "finite, so correct the row or leave it out."
        )


def block_of(X: RowsOfX, start: int, stop: int) -> FloatArray:
    """Read rows ``start`` to ``stop`` of X as float64, shape (r, D).

    Raises
    ------
    InputError
        If they are not finite.
    """
    block = np.asarray(X[start:stop], dtype=np.float64)
    require_finite(block, start)
    return block


def read_rows(X: RowsOfX, positions: IntArray, chunk_rows: int = 65536) -> FloatArray:
    """Read the given rows of X into memory, chunk by chunk.

    Parameters
    ----------
    X : array of shape (n, D)
        NumPy or Zarr.
    positions : ndarray of shape (m,)
        Ascending.
    chunk_rows : int
        Rows read at a time.

    Returns
    -------
    ndarray of shape (m, D)

    Raises
    ------
    InputError
        If a row that is read along is not finite.
    """
    n, D = X.shape
    rows = np.empty((len(positions), D))
    starts = range(0, n, chunk_rows)
    cuts = np.searchsorted(positions, [*starts, n])
    for start, first, last in zip(starts, cuts[:-1], cuts[1:], strict=True):
        if first < last:
            block = block_of(X, start, start + chunk_rows)
            inside = positions[first:last] - start
            # Clipped only in name: without it, `take` writes into a copy first.
            np.take(block, inside, axis=0, out=rows[first:last], mode="clip")
    return rows
