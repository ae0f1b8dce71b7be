"""The RBF context: P⁺(a|x) ∝ exp(−γ‖x − a‖²) over the reference rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from scipy.special import logsumexp

from contexture.contexts.base import EqualWeightsKept, Extent
from contexture.contexts.distances import (
    MEDIAN_SAMPLE,
    median_squared_distance,
    squared_distances,
)
from contexture.contexts.reference import (
    ReferenceContext,
    block_of,
    draw_reference,
    new_rows,
    read_rows,
)
from contexture.errors import ContextError
from contexture.inputs import Features, FloatArray, RowsOfX


class RbfFields(ReferenceContext):
    """Parameters that the plain and the masked RBF context share."""

    version: ClassVar[int] = 2  # 1: near rows far out had lost their digits

    gamma: float = Field(
        gt=0,
        allow_inf_nan=False,
        title="γ",
        description="Inverse squared width of the kernel exp(−γ‖x − a‖²); "
        "a larger γ makes a stronger association.",
        json_schema_extra={"position": 10},
    )
    scale: Literal["median", "absolute"] = Field(
        default="median",
        title="Unit of γ",
        description="median: γ is measured in units of 1 / median pairwise squared distance; "
        "absolute: γ as it stands.",
        json_schema_extra={"position": 20},
    )

    def draws(self, n: int) -> bool:
        """Whether the references, or the rows for the median distance, are a drawn sample."""
        return super().draws(n) or (self.scale == "median" and n > MEDIAN_SAMPLE)

    def scaled_gamma(self, features: Features, seed: int) -> tuple[float, dict[str, Any]]:
        """γ in the units of the data, and what it was found from.

        Raises
        ------
        ContextError
            If more than half of all pairs of rows coincide, so that the median distance is 0.
        """
        if self.scale == "absolute":
            return self.gamma, {"scaled_gamma": self.gamma}
        median = median_squared_distance(features, seed)
        if median <= 0:
            raise ContextError(
                f"context '{self.label}': the median squared distance between rows is 0 (more "
                "than half of all pairs coincide), so γ has no unit; set scale to 'absolute'."
            )
        scaled = self.gamma / median
        return scaled, {"scaled_gamma": scaled, "median_squared_distance": median}

    def rows_over(self, features: Features, seed: int) -> RbfRows:
        """Draw the references and scale γ; the law over all features.

        Raises
        ------
        ContextError
            If the parameters do not fit that many rows or features.
        """
        self.extent(*features.shape)
        positions = draw_reference(features.ids, self.reference_size(features.shape[0]), seed)
        gamma, details = self.scaled_gamma(features, seed)
        return RbfRows(
            X=features.X,
            references=read_rows(features.X, positions),
            gamma=gamma,
            input_weights=features.input_weights,
            context_values=features.ids[positions],
            details=details,
        )


class Rbf(RbfFields):
    """RBF context: a neighbour is drawn with weight exp(−γ‖x − a‖²)."""

    model_config = ConfigDict(title="RBF")
    family: ClassVar[str] = "rbf"

    kind: Literal["rbf"] = "rbf"

    @property
    def default_name(self) -> str:
        """``rbf-10``."""
        return f"rbf-{self.gamma:g}{self.reference_suffix}"

    def extent(self, n: int, D: int) -> Extent:
        """Dense, n × m."""
        m = self.reference_size(n)
        return Extent(n, m, n * m, False, m * (2.0 * D + 40))

    def fit(self, features: Features, seed: int = 0) -> RbfRows:
        """Draw the references and scale γ."""
        return self.rows_over(features, seed)


@dataclass(frozen=True)
class RbfRows(EqualWeightsKept):
    """Rows of the RBF context, computed on demand."""

    X: RowsOfX
    references: FloatArray
    gamma: float
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
        """Rows ``start`` to ``stop`` of P, dense, shape (r, m).

        Raises
        ------
        InputError
            If X is not finite there.
        """
        return self._law(block_of(self.X, start, stop))

    def rows_of(self, X: npt.ArrayLike, own: npt.ArrayLike | None = None) -> FloatArray:
        """P of any inputs, shape (r, D); dense, shape (r, m).

        Where an input stands among the references, ``own``, makes no difference to a kernel.

        Raises
        ------
        InputError
            If the shapes do not fit, or X is not finite, or so far out that squares overflow.
        """
        return self._law(new_rows(X, own, self.references)[0])

    def panels(self, X: FloatArray, width: int) -> Iterator[tuple[slice, FloatArray]]:
        """P of some inputs, by columns, where all would take too much room.

        Parameters
        ----------
        X : ndarray of shape (r, D)
        width : int
            Columns at a time.

        Yields
        ------
        columns : slice
        P : ndarray of shape (r, columns)
        """
        m, logs = len(self.references), np.full(len(X), -np.inf)
        panels = [slice(start, min(start + width, m)) for start in range(0, m, width)]
        for columns in panels:
            logs = np.logaddexp(logs, logsumexp(self._exponents(X, columns), axis=1))
        for columns in panels:
            exponents = self._exponents(X, columns)
            exponents -= logs[:, None]
            yield columns, np.exp(exponents, out=exponents)

    def _exponents(self, X: FloatArray, columns: slice) -> FloatArray:
        exponents = squared_distances(X, self.references[columns])
        exponents *= -self.gamma
        return exponents

    def _law(self, X: FloatArray) -> FloatArray:
        return kernel_rows(squared_distances(X, self.references), self.gamma)


def kernel_rows(squared: FloatArray, gamma: float) -> FloatArray:
    """Normalise exp(−γ d²) row by row, in place of ``squared``.

    The nearest reference is moved to distance 0 first: it changes nothing after normalisation,
    and keeps a row from underflowing as a whole.
    """
    squared -= squared.min(axis=1, keepdims=True)
    squared *= -gamma
    np.exp(squared, out=squared)
    squared /= squared.sum(axis=1, keepdims=True)
    return squared
