"""Reference sets: the rows of the corpus that serve as context values (theory.md §2).

With all rows as references the context is the usual whole-graph one. With m rows drawn by the
seed it estimates the population context, and costs n·m instead of n².
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import pandas as pd
from pydantic import Field

from contexture.contexts.base import Context
from contexture.errors import ContextError
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
    """
    parts = []
    for start in range(0, X.shape[0], chunk_rows):
        inside = positions[(positions >= start) & (positions < start + chunk_rows)]
        if inside.size:
            block = np.asarray(X[start : start + chunk_rows], dtype=np.float64)
            parts.append(block[inside - start])
    return np.ascontiguousarray(np.concatenate(parts))


Evidence = TypeVar("Evidence")


def redrawn(evidence: Evidence, X: RowsOfX, ids: Labels, seed: int, draw: int) -> Evidence:
    """Return the same context over another, independent draw of as many references.

    Parameters
    ----------
    evidence : rows of a reference context
        With ``references`` and ``context_values``, and ``positions`` if it needs them; or with
        such a thing as ``plain``.
    X : array of shape (n, D)
    ids : array of shape (n,)
    seed, draw : int
        As in `draw_reference`; draw 0 is the evidence itself.
    """
    if draw == 0:
        return evidence
    changes: dict[str, Any] = {}
    found: Any = evidence
    if hasattr(found, "plain"):
        changes["plain"] = redrawn(found.plain, X, ids, seed, draw)
    else:
        positions = draw_reference(ids, len(found.references), seed, draw)
        changes["references"] = read_rows(X, positions)
        changes["context_values"] = np.asarray(ids[positions])
        if any(field.name == "positions" for field in fields(found)):
            changes["positions"] = positions
    changed: Evidence = replace(found, **changes)
    return changed


@dataclass(frozen=True)
class Window:
    """Some consecutive rows of X in memory that answer under their own numbers.

    Parameters
    ----------
    values : ndarray of shape (r, D)
    start : int
        Number of the first of them.
    whole : (int, int)
        Shape of X.
    """

    values: FloatArray
    start: int
    whole: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of X."""
        return self.whole

    def __getitem__(self, key: slice, /) -> FloatArray:
        return self.values[key.start - self.start : key.stop - self.start]


def within(evidence: Evidence, start: int, stop: int) -> Evidence:
    """Return evidence of which rows ``start`` to ``stop`` of X are in memory; only they are."""
    found: Any = evidence
    if hasattr(found, "plain"):
        inner: Evidence = replace(found, plain=within(found.plain, start, stop))
        return inner
    values = np.ascontiguousarray(found.X[start:stop], dtype=np.float64)
    window = Window(values, start, (int(found.X.shape[0]), values.shape[1]))
    outer: Evidence = replace(found, X=window)
    return outer
