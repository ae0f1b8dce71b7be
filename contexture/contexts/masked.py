"""Masked RBF and masked KNN: the context averaged over random views with hidden features."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from contexture.contexts.base import Extent, Rows
from contexture.contexts.knn import KnnFields, KnnRows
from contexture.contexts.rbf import RbfFields, RbfRows
from contexture.errors import ContextError
from contexture.inputs import Features, FloatArray, IntArray


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
        m = self.reference_size(n)
        nonzeros = n * min(m, self.neighbours(n) * self.n_masks)
        return Extent(n, m, nonzeros, True, self.n_masks * m * (2.0 * D + 20))

    def fit(self, features: Features, seed: int = 0) -> MaskedRows:
        """Draw references and masks."""
        masks = draw_masks(features.shape[1], self.n_masks, self.hidden, seed, self.label)
        return MaskedRows(self.rows_over(features, seed), tuple(masks))


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
        X = np.asarray(self.plain.X[start:stop], dtype=np.float64)
        R = self.plain.references
        laws = (
            self.plain.law(
                np.ascontiguousarray(X[:, kept]), np.ascontiguousarray(R[:, kept]), start
            )
            for kept in self.masks
        )
        return functools.reduce(operator.add, laws) / len(self.masks)
