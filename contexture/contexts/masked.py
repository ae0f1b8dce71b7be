"""Masked RBF and masked KNN: the context averaged over random views with hidden features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from contexture.contexts.base import Extent
from contexture.contexts.knn import KnnFields, descent_work
from contexture.contexts.masked_rows import MaskedRows
from contexture.contexts.neighbours import approximate_neighbours
from contexture.contexts.rbf import RbfFields
from contexture.contexts.recall import SAMPLE, Neighbours, pooled
from contexture.contexts.reference import read_rows
from contexture.errors import ContextError
from contexture.inputs import Features, IntArray, RowsOfX


class MaskFields(BaseModel):
    """Parameters of the masks."""

    n_masks: int = Field(
        default=50,
        ge=1,
        le=10_000,
        title="Masks",
        description="Number of random masks over which P is averaged.",
        json_schema_extra={"position": 30},
    )
    hidden: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        title="Hidden fraction",
        description="Fraction of the features that each mask hides (at least one feature is "
        "hidden and at least one is kept).",
        json_schema_extra={"position": 40},
    )


def draw_masks(D: int, n_masks: int, hidden: float, seed: int, label: str) -> list[IntArray]:
    """Draw the features that each mask keeps.

    Parameters
    ----------
    D : int
        Number of features.
    n_masks, hidden
        As in `MaskFields`.
    seed : int
        Seed of the run.
    label : str
        Name of the context, for the message.

    Returns
    -------
    list of ndarray
        The kept columns of each mask, ascending.

    Raises
    ------
    ContextError
        If there is only one feature, so that none could be hidden.
    """
    if D < 2:
        raise ContextError(
            f"context '{label}': masks hide some features and keep others, but the corpus has "
            f"only {D} feature; use the context without masks."
        )
    count = min(max(1, round(hidden * D)), D - 1)
    generator = np.random.default_rng([seed, 0x3A5C])
    return [np.sort(generator.permutation(D)[count:]) for _ in range(n_masks)]


class MaskedRbf(RbfFields, MaskFields):
    """RBF context averaged over masks; γ is scaled by the distances on all features."""

    model_config = ConfigDict(title="Masked RBF")
    family: ClassVar[str] = "masked-rbf"

    kind: Literal["masked-rbf"] = "masked-rbf"

    @property
    def default_name(self) -> str:
        """``masked-rbf-10``."""
        return f"masked-rbf-{self.gamma:g}{self.reference_suffix}"

    def draws(self, n: int) -> bool:
        """Masks are drawn."""
        del n
        return True

    def extent(self, n: int, D: int) -> Extent:
        """Dense, n × m."""
        draw_masks(D, 1, self.hidden, 0, self.label)
        m = self.reference_size(n)
        return Extent(n, m, n * m, False, self.n_masks * m * (2.0 * D + 40))

    def fit(self, features: Features, seed: int = 0) -> MaskedRows:
        """Draw references and masks, and scale γ."""
        masks = draw_masks(features.shape[1], self.n_masks, self.hidden, seed, self.label)
        return MaskedRows(self.rows_over(features, seed), tuple(masks))


class MaskedKnn(KnnFields, MaskFields):
    """KNN context averaged over masks."""

    model_config = ConfigDict(title="Masked KNN")
    family: ClassVar[str] = "masked-knn"

    kind: Literal["masked-knn"] = "masked-knn"

    @property
    def default_name(self) -> str:
        """``masked-knn-30``."""
        return f"masked-knn{self.neighbours_suffix}"

    def draws(self, n: int) -> bool:
        """Masks are drawn."""
        del n
        return True

    def extent(self, n: int, D: int) -> Extent:
        """Sparse, at most ``n_masks`` · K entries a row."""
        draw_masks(D, 1, self.hidden, 0, self.label)
        m, k = self.reference_size(n), self.neighbours(n)
        work = descent_work(k, D) if self.approximates(n) else m * (2.0 * D + 20)
        return Extent(n, m, n * min(m, k * self.n_masks), True, self.n_masks * work)

    def fit(self, features: Features, seed: int = 0) -> MaskedRows:
        """Draw references and masks; find approximate neighbours, where they are asked for."""
        if self.approximates(features.shape[0]):
            found = self.find_neighbours(features, seed)
            return self.fit_found(features, found.positions, found.details, seed)
        return MaskedRows(self.rows_over(features, seed), self._masks(features, seed))

    def _masks(self, features: Features, seed: int) -> tuple[IntArray, ...]:
        D = features.shape[1]
        return tuple(draw_masks(D, self.n_masks, self.hidden, seed, self.label))

    def find_neighbours(
        self, features: Features, seed: int = 0, threads: int | None = None
    ) -> Neighbours:
        """Find the approximate neighbours of all rows under every mask, for `fit_found`.

        Their positions have shape (n, ``n_masks`` · k): those of the first mask come first.
        """
        self.extent(*features.shape)
        n = features.shape[0]
        X, k = read_rows(features.X, np.arange(n)), self.neighbours(n)
        positions = np.empty((n, self.n_masks * k), dtype=np.int32)
        parts = []
        for i, kept in enumerate(self._masks(features, seed)):
            part = approximate_neighbours(
                np.take(X, kept, axis=1), k, seed, self.include_self, threads,
                max(50, SAMPLE // self.n_masks), i,
            )  # fmt: skip
            positions[:, i * k : (i + 1) * k] = part.positions
            parts.append(replace(part, positions=part.positions[:0]))
        return pooled(positions, parts)

    def fit_found(
        self, features: Features, neighbours: RowsOfX, details: Mapping[str, Any], seed: int = 0
    ) -> MaskedRows:
        """Fit with neighbours that were found before.

        Parameters
        ----------
        features : Features
        neighbours : array of int32, shape (n, n_masks · k)
            Positions of `find_neighbours`: NumPy, or Zarr, read by row slices.
        details : mapping
            Its figures, to be kept with the operator.
        seed : int
            The one of `find_neighbours`; the masks follow from it.
        """
        plain = self.rows_over(features, seed, held=self.draws_references(features.shape[0]))
        plain = replace(plain, neighbours=neighbours, details={**plain.details, **details})
        return MaskedRows(plain, self._masks(features, seed))
