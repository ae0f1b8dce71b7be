"""The same context over other references, and over rows that are in memory already."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from contexture.contexts.reference import draw_reference, read_rows
from contexture.inputs import FloatArray, Labels, RowsOfX

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
