"""Masked RBF and masked KNN: the context averaged over random views with hidden features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from contexture.contexts.base import Extent, Rows
from contexture.contexts.distances import centred_squared_distances
from contexture.contexts.knn import KnnFields, KnnRows, descent_work
from contexture.contexts.neighbours import SAMPLE, Neighbours, approximate_neighbours, pooled
from contexture.contexts.rbf import RbfFields, RbfRows, kernel_rows
from contexture.contexts.reference import new_rows, own_positions, read_rows
from contexture.contexts.search import References
from contexture.contexts.tallies import add_counts, rows_of_counts, rows_of_lists
from contexture.errors import ContextError
from contexture.inputs import Features, FloatArray, IntArray, RowsOfX

_PANEL_ENTRIES = 1 << 17
"""Entries of a kernel computed at a time (1 MiB), so that they stay in the cache."""


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
                np.ascontiguousarray(X[:, kept]), k, seed, self.include_self, threads,
                max(50, SAMPLE // self.n_masks),
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
        plain = self.rows_over(features, seed)
        plain = replace(plain, neighbours=neighbours, details={**plain.details, **details})
        return MaskedRows(plain, self._masks(features, seed))


@dataclass(frozen=True)
class MaskedRows:
    """Rows of a context averaged over masks, computed on demand.

    Parameters
    ----------
    plain : RbfRows or KnnRows
        The context over all features.
    masks : tuple of ndarray
        The features that each mask keeps.
    """

    plain: RbfRows | KnnRows
    masks: tuple[IntArray, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return self.plain.shape

    @property
    def sparse(self) -> bool:
        """As the plain context is."""
        return self.plain.sparse

    @property
    def input_weights(self) -> FloatArray:
        """P_X."""
        return self.plain.input_weights

    @property
    def context_values(self) -> npt.NDArray[Any]:
        """Ids of the reference rows."""
        return self.plain.context_values

    @property
    def details(self) -> Mapping[str, Any]:
        """What fitting found."""
        return self.plain.details

    def entries(self, start: int, stop: int) -> int:
        """At most as many a mask as the plain context has, and at most all."""
        return min(
            (stop - start) * self.shape[1], len(self.masks) * self.plain.entries(start, stop)
        )

    def rows(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` of the averaged P, shape (r, m)."""
        if isinstance(self.plain, KnnRows) and self.plain.neighbours is not None:
            lists = np.array(self.plain.neighbours[start:stop], dtype=np.int32)
            return rows_of_lists(lists, self.shape[1], lists.shape[1])
        X = np.asarray(self.plain.X[start:stop], dtype=np.float64)
        if isinstance(self.plain, KnnRows):
            own = own_positions(self.plain.positions, start, start + len(X))
            return self._neighbours(self.plain, X, own)
        return self._kernel(self.plain, X)

    def rows_of(self, X: npt.ArrayLike, own: npt.ArrayLike | None = None) -> Rows:
        """P of any inputs, shape (r, m); parameters and errors as `KnnRows.rows_of` has them."""
        matrix, places = new_rows(X, own, self.plain.references)
        if isinstance(self.plain, KnnRows):
            return self._neighbours(self.plain, matrix, places)
        return self._kernel(self.plain, matrix)

    def _neighbours(self, plain: KnnRows, X: FloatArray, own: IntArray) -> csr_array:
        """Count in integers how often a reference is chosen, over all masks at once."""
        r, m, k, total = len(X), self.shape[1], plain.k, len(self.masks) * plain.k
        # A table, or where that would be larger, all neighbours in a list; a third of the CSR.
        tabled = m <= total
        counts = np.zeros((r, m), dtype=np.int32) if tabled else np.empty((r, total), np.int32)
        for i, kept in enumerate(self.masks):
            seen = References.of(plain.references[:, kept])
            found = seen.nearest(X[:, kept], k, own, plain.include_self)
            if tabled:
                add_counts(found, counts)
            else:
                counts[:, i * k : (i + 1) * k] = found
        return rows_of_counts(counts, total) if tabled else rows_of_lists(counts, m, total)

    def _kernel(self, plain: RbfRows, X: FloatArray) -> FloatArray:
        """Add up panels that stay in the cache, in the block that is given back."""
        centre = np.median(plain.references, axis=0)
        X, R = X - centre, plain.references - centre
        total = np.zeros((len(X), len(R)))
        step = max(1, _PANEL_ENTRIES // len(R))
        for kept in self.masks:
            seen = np.ascontiguousarray(R[:, kept])
            for top in range(0, len(X), step):
                squared = centred_squared_distances(X[top : top + step, kept], seen)
                total[top : top + step] += kernel_rows(squared, plain.gamma)
        total /= len(self.masks)
        return total
