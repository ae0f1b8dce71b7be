"""Rows of P for contexts that come as a whole matrix of weights or counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from contexture.errors import ContextError
from contexture.inputs import FloatArray
from contexture.values import LEAST_WEIGHT


@dataclass(frozen=True)
class MatrixRows:
    """Rows of a P that is known as a whole, with P_X from the row sums."""

    matrix: csr_array
    input_weights: FloatArray
    context_values: npt.NDArray[Any]
    details: Mapping[str, Any]
    sparse = True

    @classmethod
    def from_amounts(
        cls,
        amounts: csr_array,
        ids: np.ndarray,
        context_values: np.ndarray,
        label: str,
        what: str,
        details: Mapping[str, Any],
        lack: str | None = None,
        remedy: str | None = None,
    ) -> Self:
        """Normalise the rows of a matrix of weights or counts.

        Parameters
        ----------
        amounts : csr_array of shape (n, m)
            Not negative; equal entries are added up in place.
        ids : ndarray of shape (n,)
        context_values : ndarray of shape (m,)
        label : str
            Name of the context, for messages.
        what : str
            One amount: ``edge`` or ``count``.
        details : mapping
            As in `ConditionalRows`.
        lack, remedy : str, optional
            What an empty row has none of, and what to do; by default as of counts.

        Raises
        ------
        ContextError
            If a row is empty, or has so little that it cannot be told from an empty one.
        """
        amounts.sum_duplicates()
        largest = amounts.data.max(initial=0.0)
        if largest > np.finfo(np.float64).max / (1 + amounts.nnz):  # a sum might overflow
            amounts = amounts / largest
        amounts.eliminate_zeros()
        sums = np.asarray(amounts.sum(axis=1)).ravel()
        remedy = remedy or (
            f"give them a positive {what}, or leave these rows out of both the corpus and the "
            f"{what}s"
        )
        _require_no_empty_rows(sums, ids, label, lack or what, remedy)
        least = int(sums.argmin())
        if sums[least] < LEAST_WEIGHT * sums.max():
            raise ContextError(
                f"context '{label}': the {what}s of row '{ids[least]}' add up to "
                f"{sums[least] / sums.max():.1e} of those of another row: too far apart to be told "
                "from 0; leave such rows out of the corpus."
            )
        scaled = csr_array(
            (
                amounts.data / np.repeat(sums, np.diff(amounts.indptr)),
                amounts.indices,
                amounts.indptr,
            ),
            shape=amounts.shape,
        )
        return cls(scaled, sums / sums.sum(), context_values, details)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        n, m = self.matrix.shape
        return int(n), int(m)

    def entries(self, start: int, stop: int) -> int:
        """As many as the matrix has."""
        return int(self.matrix.indptr[stop] - self.matrix.indptr[start])

    def rows(self, start: int, stop: int) -> csr_array:
        """Rows ``start`` to ``stop`` of P as CSR, shape (r, m)."""
        return self.matrix[start:stop]


def _require_no_empty_rows(
    sums: FloatArray, ids: np.ndarray, label: str, lack: str, remedy: str
) -> None:
    """Refuse inputs about which the context says nothing (theory.md §1)."""
    empty = np.flatnonzero(sums <= 0)
    if empty.size:
        examples = ", ".join(f"'{name}'" for name in ids[empty[:3]].tolist())
        raise ContextError(
            f"context '{label}': {empty.size} row(s) of the corpus have no {lack}, such as "
            f"{examples}; {remedy}."
        )
