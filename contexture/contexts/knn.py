"""The KNN context: P⁺(a|x) = 1/K on the K nearest reference rows of x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, model_validator
from scipy.sparse import csr_array

from contexture.contexts.base import Extent
from contexture.contexts.distances import nearest
from contexture.contexts.reference import ReferenceContext, draw_reference, read_rows
from contexture.errors import ContextError
from contexture.inputs import Features, FloatArray, IntArray, RowsOfX


class KnnFields(ReferenceContext):
    """Parameters that the plain and the masked KNN context share."""

    k: int | None = Field(
        default=None,
        ge=1,
        title="K",
        description="Number of neighbours among the reference rows; a smaller K makes a stronger "
        "association. Give either k or fraction.",
        json_schema_extra={"position": 10},
    )
    fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        title="Fraction",
        description="Neighbours as a fraction of the reference set; unlike k it means the same "
        "association at every corpus size.",
        json_schema_extra={"position": 20},
    )
    include_self: bool = Field(
        default=True,
        title="Own neighbour",
        description="Whether a row that is among the references counts as its own neighbour.",
        json_schema_extra={"position": 60},
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.k is None) == (self.fraction is None):
            given = "both were" if self.k is not None else "neither was"
            raise ValueError(f"give either k or fraction; {given} given")
        return self

    @property
    def neighbours_suffix(self) -> str:
        """``-30`` or ``-0.01``, with the reference size if it is not all rows."""
        value = f"{self.k}" if self.k is not None else f"{self.fraction:g}"
        without = "" if self.include_self else "-no-self"
        return f"-{value}{without}{self.reference_suffix}"

    def neighbours(self, n: int) -> int:
        """K on a corpus of n rows.

        Raises
        ------
        ContextError
            If there are not more references than K.
        """
        m = self.reference_size(n)
        k = self.k if self.k is not None else max(1, round((self.fraction or 0.0) * m))
        if k >= m:
            raise ContextError(
                f"context '{self.label}': K is {k}, but there are only {m} reference rows; "
                f"choose K below {m}."
            )
        return k

    def rows_over(self, features: Features, seed: int) -> KnnRows:
        """Draw the references; the law over all features.

        Raises
        ------
        ContextError
            If the parameters do not fit that many rows or features.
        """
        self.extent(*features.shape)
        positions = draw_reference(features.ids, self.reference_size(features.shape[0]), seed)
        k = self.neighbours(features.shape[0])
        return KnnRows(
            X=features.X,
            references=read_rows(features.X, positions),
            positions=positions,
            k=k,
            include_self=self.include_self,
            input_weights=features.input_weights,
            context_values=features.ids[positions],
            details={"k": k},
        )


class Knn(KnnFields):
    """KNN context: a neighbour is drawn uniformly from the K nearest reference rows."""

    model_config = ConfigDict(title="KNN")
    family: ClassVar[str] = "knn"

    kind: Literal["knn"] = "knn"

    @property
    def default_name(self) -> str:
        """``knn-30``."""
        return f"knn{self.neighbours_suffix}"

    def extent(self, n: int, D: int) -> Extent:
        """Sparse, K entries a row."""
        m = self.reference_size(n)
        return Extent(n, m, n * self.neighbours(n), True, m * (2.0 * D + 20))

    def fit(self, features: Features, seed: int = 0) -> KnnRows:
        """Draw the references."""
        return self.rows_over(features, seed)


@dataclass(frozen=True)
class KnnRows:
    """Rows of the KNN context, computed on demand."""

    X: RowsOfX
    references: FloatArray
    positions: IntArray
    k: int
    include_self: bool
    input_weights: FloatArray
    context_values: npt.NDArray[Any]
    details: Mapping[str, Any]
    sparse = True

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return int(self.X.shape[0]), len(self.references)

    def entries(self, start: int, stop: int) -> int:
        """K entries a row."""
        return (stop - start) * self.k

    def rows(self, start: int, stop: int) -> csr_array:
        """Rows ``start`` to ``stop`` of P as CSR, shape (r, m)."""
        return self.law(np.asarray(self.X[start:stop], dtype=np.float64), self.references, start)

    def law(self, X: FloatArray, references: FloatArray, start: int) -> csr_array:
        """P of the given rows, the first being row ``start``, among the given references."""
        own = own_positions(self.positions, start, start + len(X))
        neighbours = nearest(X, references, self.k, own, self.include_self)
        return uniform_rows(neighbours, len(references))


def own_positions(positions: IntArray, start: int, stop: int) -> IntArray:
    """Where each of the rows stands among the references; −1 if it is none of them."""
    rows = np.arange(start, stop)
    found = np.searchsorted(positions, rows)
    found = np.minimum(found, len(positions) - 1)
    return np.where(positions[found] == rows, found, -1)


def uniform_rows(neighbours: IntArray, m: int) -> csr_array:
    """P with 1/K at the K listed columns of each row; columns sorted within a row."""
    r, k = neighbours.shape
    indices = np.sort(neighbours, axis=1).ravel()
    pointers = np.arange(0, r * k + 1, k)
    return csr_array((np.full(r * k, 1.0 / k), indices, pointers), shape=(r, m))
