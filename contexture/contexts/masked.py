"""Masked RBF and masked KNN: the context averaged over random views with hidden features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from contexture.contexts.base import Extent
from contexture.contexts.distances import nearest, squared_distances
from contexture.contexts.knn import KnnFields, own_positions, uniform_rows
from contexture.contexts.rbf import RbfFields, kernel_rows
from contexture.contexts.reference import draw_reference, read_rows
from contexture.errors import ContextError
from contexture.inputs import Features, FloatArray, IntArray, RowsOfX


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

    def fit(self, features: Features, seed: int = 0) -> MaskedRbfRows:
        """Draw references and masks, and scale γ."""
        n, D = features.shape
        self.extent(n, D)
        positions = draw_reference(features.ids, self.reference_size(n), seed)
        gamma, details = self.scaled_gamma(features, seed)
        return MaskedRbfRows(
            X=features.X,
            references=read_rows(features.X, positions),
            gamma=gamma,
            masks=tuple(draw_masks(D, self.n_masks, self.hidden, seed, self.label)),
            input_weights=features.input_weights,
            context_values=features.ids[positions],
            details=details,
        )


@dataclass(frozen=True)
class MaskedRbfRows:
    """Rows of the masked RBF context, computed on demand."""

    X: RowsOfX
    references: FloatArray
    gamma: float
    masks: tuple[IntArray, ...]
    input_weights: FloatArray
    context_values: npt.NDArray[Any]
    details: Mapping[str, Any]
    sparse = False

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return int(self.X.shape[0]), len(self.references)

    def entries(self, start: int, stop: int) -> int:
        """Every entry is stored."""
        return (stop - start) * len(self.references)

    def rows(self, start: int, stop: int) -> FloatArray:
        """Rows ``start`` to ``stop`` of the averaged P, dense, shape (r, m)."""
        X = np.asarray(self.X[start:stop], dtype=np.float64)
        total = np.zeros((len(X), len(self.references)))
        for kept in self.masks:
            squared = squared_distances(X[:, kept], self.references[:, kept])
            total += kernel_rows(squared, self.gamma)
        total /= len(self.masks)
        return total


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
        m = self.reference_size(n)
        nonzeros = n * min(m, self.neighbours(n) * self.n_masks)
        return Extent(n, m, nonzeros, True, self.n_masks * m * (2.0 * D + 20))

    def fit(self, features: Features, seed: int = 0) -> MaskedKnnRows:
        """Draw references and masks."""
        n, D = features.shape
        self.extent(n, D)
        positions = draw_reference(features.ids, self.reference_size(n), seed)
        return MaskedKnnRows(
            X=features.X,
            references=read_rows(features.X, positions),
            positions=positions,
            k=self.neighbours(n),
            include_self=self.include_self,
            masks=tuple(draw_masks(D, self.n_masks, self.hidden, seed, self.label)),
            input_weights=features.input_weights,
            context_values=features.ids[positions],
            details={"k": self.neighbours(n)},
        )


@dataclass(frozen=True)
class MaskedKnnRows:
    """Rows of the masked KNN context, computed on demand."""

    X: RowsOfX
    references: FloatArray
    positions: IntArray
    k: int
    include_self: bool
    masks: tuple[IntArray, ...]
    input_weights: FloatArray
    context_values: npt.NDArray[Any]
    details: Mapping[str, Any]
    sparse = True

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return int(self.X.shape[0]), len(self.references)

    def entries(self, start: int, stop: int) -> int:
        """At most K entries a row and mask."""
        return (stop - start) * min(len(self.references), self.k * len(self.masks))

    def rows(self, start: int, stop: int) -> csr_array:
        """Rows ``start`` to ``stop`` of the averaged P as CSR, shape (r, m)."""
        X = np.asarray(self.X[start:stop], dtype=np.float64)
        own = own_positions(self.positions, start, stop)
        m = len(self.references)
        total = csr_array((len(X), m))
        for kept in self.masks:
            R = np.ascontiguousarray(self.references[:, kept])
            neighbours = nearest(
                np.ascontiguousarray(X[:, kept]), R, self.k, own, self.include_self
            )
            total = total + uniform_rows(neighbours, m)
        return csr_array(total / len(self.masks))
