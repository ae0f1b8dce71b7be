"""The order in which the rows of an operator are stored: what is multiplied together lies together.

Products with a sparse matrix are bound by memory traffic, and so cheaper where the entries of a row
are near to each other and to those of the next row. The order is found once, before the first block
is written, and kept with the operator; results are put back into the order of the corpus by
`contexture.evaluation.evaluate`, and nobody else knows of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from contexture.contexts.base import ConditionalRows, Rows
from contexture.contexts.matrix import MatrixRows
from contexture.errors import EvidenceError
from contexture.estimators.ordering import order_of_weights
from contexture.estimators.preparation import ORDER_NEIGHBOURS
from contexture.inputs import FloatArray, IntArray
from contexture.spectrum import Spectrum, fix_signs_in_place


@dataclass(frozen=True)
class Order:
    """Where the rows and the context values of a stored operator stand in the corpus.

    Attributes
    ----------
    rows : ndarray of shape (n,)
        Which row of the corpus each stored row is.
    columns : ndarray of shape (m,)
        Which context value each stored column is.
    """

    rows: IntArray
    columns: IntArray

    @classmethod
    def of_evidence(cls, evidence: ConditionalRows) -> Self:
        """Find a local order of evidence that comes as a whole matrix.

        Raises
        ------
        EvidenceError
            If its rows are not known before they are computed.
        """
        if not isinstance(evidence, MatrixRows):
            raise EvidenceError(
                f"the rows of {type(evidence).__name__} are computed on demand, and an order needs "
                "all of them at hand; store them as they come."
            )
        return cls(*order_of_weights(evidence.matrix))

    @classmethod
    def of_neighbours(cls, positions: npt.NDArray[Any], lists: int = 1) -> Self:
        """Find a local order of rows by their neighbours among all rows.

        Parameters
        ----------
        positions : ndarray of int, shape (n, lists · k)
            Those of one list side by side, nearest first.
        lists : int
            One a mask.
        """
        n, width = positions.shape
        each = width // lists
        # At least two of a list, since the first may be the row itself; then of fewer lists.
        share = min(each, max(2, ORDER_NEIGHBOURS // lists))
        used = np.linspace(0, lists - 1, max(1, min(lists, ORDER_NEIGHBOURS // share)), dtype=int)
        chosen = (used[:, None] * each + np.arange(share)).ravel()
        columns = np.ascontiguousarray(positions[:, chosen]).ravel()
        pointers = np.arange(0, n * len(chosen) + 1, len(chosen))
        ones = np.ones(len(columns), dtype=np.int8)
        return cls(*order_of_weights(sparse.csr_array((ones, columns, pointers), shape=(n, n))))

    def sorted(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring lists of neighbours, shape (n, k), from the corpus's order into this one."""
        places = inverse(self.columns).astype(positions.dtype)
        return np.asarray(places[positions[self.rows]])

    @cached_property
    def places(self) -> IntArray:
        """Which stored row each row of the corpus is, shape (n,)."""
        return inverse(self.rows)

    @property
    def fingerprint(self) -> str:
        """Stands for the content."""
        digest = hashlib.sha256(np.ascontiguousarray(self.rows, np.int64).tobytes())
        digest.update(np.ascontiguousarray(self.columns, np.int64).tobytes())
        return digest.hexdigest()[:16]

    def kept(self, columns: npt.NDArray[Any]) -> Order:
        """Return the order of an operator of which only some stored columns are left."""
        left = self.columns[columns]
        return Order(self.rows, inverse(np.argsort(left)))

    def restored(self, spectrum: Spectrum) -> Spectrum:
        """Put a spectrum into the order of the corpus, with signs as they are settled there."""
        back = inverse(self.columns)
        left = spectrum.left[self.places]
        right = spectrum.right[back]
        fix_signs_in_place(left, right)
        return replace(
            spectrum,
            left=left,
            right=right,
            input_weights=spectrum.input_weights[self.places],
            context_weights=spectrum.context_weights[back],
            context_values=spectrum.context_values[back],
        )


def inverse(order: npt.NDArray[Any]) -> IntArray:
    """Return the inverse of a permutation."""
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


@dataclass(frozen=True)
class OrderedRows:
    """Rows of P in the order in which they are stored; as `ConditionalRows`.

    Parameters
    ----------
    evidence : ConditionalRows
        Whose ``rows`` come in that order; all else of it is in the order of the corpus.
    order : Order
    """

    evidence: ConditionalRows
    order: Order

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return self.evidence.shape

    @property
    def sparse(self) -> bool:
        """Whether ``rows`` gives CSR blocks."""
        return self.evidence.sparse

    @cached_property
    def input_weights(self) -> FloatArray:
        """P_X, shape (n,)."""
        return self.evidence.input_weights[self.order.rows]

    @property
    def context_values(self) -> npt.NDArray[Any]:
        """What the columns stand for, shape (m,)."""
        return np.asarray(self.evidence.context_values)[self.order.columns]

    @property
    def details(self) -> Mapping[str, Any]:
        """What fitting found."""
        return self.evidence.details

    def rows(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` in this order, shape (r, m)."""
        return self.evidence.rows(start, stop)

    def entries(self, start: int, stop: int) -> int:
        """Upper bound on the entries of these rows."""
        return self.evidence.entries(start, stop)


def in_order(evidence: ConditionalRows, order: Order) -> OrderedRows:
    """Give the rows of evidence in an order; neighbours found before are in it already."""
    if isinstance(evidence, MatrixRows):
        matrix = sparse.csr_array(evidence.matrix[order.rows][:, order.columns])
        matrix.sort_indices()
        evidence = replace(evidence, matrix=matrix)
    return OrderedRows(evidence, order)
