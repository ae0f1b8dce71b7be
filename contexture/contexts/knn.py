"""The KNN context: P⁺(a|x) = 1/K on the K nearest reference rows of x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from contexture.contexts.base import Extent
from contexture.contexts.knn_rows import KnnRows
from contexture.contexts.neighbours import (
    ALWAYS_EXACT,
    EXACT_UP_TO,
    approximate_neighbours,
)
from contexture.contexts.recall import Neighbours
from contexture.contexts.reference import (
    ReferenceContext,
    draw_reference,
    read_rows,
)
from contexture.errors import ContextError
from contexture.inputs import Features, RowsOfX


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

    search: Literal["auto", "exact", "approximate"] = Field(
        default="auto",
        title="Search",
        description="How neighbours among all rows are found. exact: by comparing all pairs; "
        "approximate: by nearest-neighbour descent, with the share of right neighbours measured; "
        "auto: exact up to 100 000 rows. Neighbours among drawn reference rows, and among up to "
        "2000 rows, are always exact.",
        json_schema_extra={"position": 70},
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
        search = "" if self.search == "auto" else f"-{self.search}"
        return f"-{value}{without}{self.reference_suffix}{search}"

    def approximates(self, n: int) -> bool:
        """Whether neighbours on n rows are found approximately."""
        least = EXACT_UP_TO if self.search == "auto" else max(ALWAYS_EXACT, 4 * self.neighbours(n))
        return self.search != "exact" and self.reference_size(n) == n and n > least

    def draws(self, n: int) -> bool:
        """Whether the references are a drawn sample, or the search starts from one."""
        return super().draws(n) or self.approximates(n)

    def decisive(self, n: int) -> dict[str, Any]:
        """Keep of the search only whether it is approximate on n rows."""
        description = super().decisive(n)
        del description["search"]
        return description | ({"search": "approximate"} if self.approximates(n) else {})

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

    def rows_over(self, features: Features, seed: int, held: bool = True) -> KnnRows:
        """Draw the references; the law over all features, searched exactly.

        Parameters
        ----------
        features : Features
        seed : int
        held : bool
            Whether the references are read now. All rows, whose neighbours are known, are not.

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
            references=read_rows(features.X, positions) if held else features.X,
            positions=positions,
            k=k,
            include_self=self.include_self,
            input_weights=features.input_weights,
            context_values=features.ids[positions],
            details={"k": k} if self.k is not None else {"k": k, "fraction": k / len(positions)},
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
        m, k = self.reference_size(n), self.neighbours(n)
        work = descent_work(k, D) if self.approximates(n) else m * (2.0 * D + 20)
        return Extent(n, m, n * k, True, work)

    def fit(self, features: Features, seed: int = 0) -> KnnRows:
        """Draw the references; find approximate neighbours, where they are asked for."""
        if not self.approximates(features.shape[0]):
            return self.rows_over(features, seed)
        found = self.find_neighbours(features, seed)
        return self.fit_found(features, found.positions, found.details)

    def find_neighbours(
        self, features: Features, seed: int = 0, threads: int | None = None
    ) -> Neighbours:
        """Find the approximate neighbours of all rows, to be kept for `fit_found`."""
        self.extent(*features.shape)
        n = features.shape[0]
        X = read_rows(features.X, np.arange(n))
        return approximate_neighbours(X, self.neighbours(n), seed, self.include_self, threads)

    def fit_found(
        self, features: Features, neighbours: RowsOfX, details: Mapping[str, Any], seed: int = 0
    ) -> KnnRows:
        """Fit with neighbours that were found before.

        Parameters
        ----------
        features : Features
        neighbours : array of int32, shape (n, k)
            Positions of `find_neighbours`: NumPy, or Zarr, read by row slices.
        details : mapping
            Its figures, to be kept with the operator.
        seed : int
            The one of `find_neighbours`.
        """
        plain = self.rows_over(features, seed, held=self.draws_references(features.shape[0]))
        return replace(plain, neighbours=neighbours, details={**plain.details, **details})


def descent_work(k: int, D: int) -> float:
    """Give the operations a row that nearest-neighbour descent takes, roughly."""
    return 60.0 * k * (2.0 * D + 20)
