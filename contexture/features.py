"""Columns -> X: impute, centre, scale, one-hot. What was fitted is kept as a `Recipe`.

Up to rounding, X depends on the corpus alone, not on how it is cut into partitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dask.array
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from contexture.corpus import Corpus
from contexture.encodings import Encoding, Matrix, OneHot, Scaled, encode, encode_partitions
from contexture.errors import CorpusError
from contexture.fitting import fit_encodings

TINY, HUGE = 1e-100, 1e100
"""Features may vary between these, so that squared distances neither vanish nor overflow."""


@dataclass(frozen=True)
class Recipe:
    """Fitted preprocessing: how a row becomes a row of X.

    Parameters
    ----------
    steps : tuple of Scaled or OneHot
        One for each column of the corpus that was kept, in its order.
    dropped : tuple of str
        Columns that are constant, and so say nothing.
    """

    steps: tuple[Encoding, ...]
    dropped: tuple[str, ...] = ()

    @classmethod
    def fit(cls, corpus: Corpus, max_levels: int = 1000) -> Recipe:
        """Learn the medians, means, deviations and levels of a corpus.

        Parameters
        ----------
        corpus : Corpus
            Its feature columns are used; targets, ids and weights never are.
        max_levels : int
            Levels that a category may have, at most.

        Raises
        ------
        CorpusError
            If a category has more levels, or all columns are constant.
        """
        names = corpus.feature_columns
        steps = fit_encodings(corpus, max_levels)
        if not steps:
            raise CorpusError(
                f"every feature column of {corpus.source} is constant ({', '.join(names)}); "
                "a context needs features that vary"
            )
        recipe = cls(
            tuple(steps[n] for n in names if n in steps), tuple(n for n in names if n not in steps)
        )
        double = pd.Index(recipe.columns)
        if double.has_duplicates:
            raise CorpusError(
                f"two features would be called {double[double.duplicated()][0]!r}; "
                "rename or exclude one of the columns"
            )
        return recipe

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the D columns of X; a one-hot column is called ``sex=F``."""
        return tuple(name for step in self.steps for name in step.columns)

    def transform(self, corpus: Corpus) -> dask.array.Array:
        """Return X lazily.

        Returns
        -------
        dask.array.Array of shape (n, D)
            float64; its row chunks are the partitions.

        Raises
        ------
        CorpusError
            If the corpus lacks a column.
        """
        self._check(corpus.feature_columns)
        return encode_partitions(corpus.partitions, self.steps)

    def transform_frame(self, df: pd.DataFrame) -> Matrix:
        """Do the same to rows at hand.

        A level that was not fitted becomes zeros in all of its column's features. So does a
        missing category, where the corpus had none; a missing number becomes `Scaled.fill`.

        Parameters
        ----------
        df : pandas.DataFrame
            r rows, with at least the columns that were fitted; in any order.

        Returns
        -------
        ndarray of shape (r, D)
            float64, in C order.

        Raises
        ------
        CorpusError
            If a column is absent, not of its kind, or infinite.
        """
        self._check(df.columns)
        return encode(df, self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON keeps exactly."""
        return {
            "scaled": [asdict(step) for step in self.steps if isinstance(step, Scaled)],
            "one_hot": [
                {**asdict(step), "levels": list(step.levels)}
                for step in self.steps
                if isinstance(step, OneHot)
            ],
            "order": [step.name for step in self.steps],
            "dropped": list(self.dropped),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return what `to_dict` was called on.

        Raises
        ------
        CorpusError
            If `values` is not such a dictionary.
        """
        try:
            steps: dict[str, Encoding] = {d["name"]: Scaled(**d) for d in values["scaled"]}
            for d in values["one_hot"]:
                steps[d["name"]] = OneHot(**{**d, "levels": tuple(d["levels"])})
            return cls(tuple(steps[n] for n in values["order"]), tuple(values["dropped"]))
        except (KeyError, TypeError) as error:
            raise CorpusError(f"not a recipe: {error}; fit the features again") from error

    def _check(self, present: Any) -> None:
        for step in self.steps:
            if step.name not in present:
                raise CorpusError(
                    f"there is no column {step.name!r}, which the features were fitted on; "
                    f"needed are: {', '.join(step.name for step in self.steps)}"
                )


def validate_matrix(X: ArrayLike) -> Matrix:  # noqa: N803
    """Return a matrix of features as float64 in C order.

    Parameters
    ----------
    X : array_like of shape (n, D)
        Finite numbers, not all of them constant.

    Raises
    ------
    CorpusError
        If it is anything else; the first bad entry is named.
    """
    if sparse.issparse(X):
        raise CorpusError(
            "X is a sparse matrix, and it must be an array; give X.toarray(), or where that is too "
            "large, fewer columns, such as those of a truncated SVD"
        )
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise CorpusError(f"X is no matrix of numbers: {error}") from error
    if array.ndim != 2:
        raise CorpusError(f"X has shape {array.shape}; it must be (rows, columns)")
    if array.dtype.kind not in "biuf":
        raise CorpusError(f"X has dtype {array.dtype}; it must hold numbers")
    if 0 in array.shape:
        raise CorpusError(f"X has shape {array.shape}; it needs at least one row and one column")
    if np.ma.is_masked(X):
        # Under the mask are numbers that mean nothing.
        row, column = np.argwhere(np.ma.getmaskarray(np.ma.asarray(X)))[0]
        raise CorpusError(
            f"X is masked at row {row}, column {column}; fill in what is missing, or leave the row "
            "out"
        )
    matrix = np.ascontiguousarray(array, dtype=np.float64)
    # Of the columns: nothing as large as X is made beside it.
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise CorpusError(
            f"X is {matrix[row, column]} at row {row}, column {column}; every entry must be finite"
        )
    with np.errstate(over="ignore"):
        largest = float(np.maximum(high - matrix[0], matrix[0] - low).max())
    if 0 < largest < TINY or largest > HUGE:
        raise CorpusError(
            f"X varies by {largest:.3g}, and its squares cannot be held in floating point; "
            f"rescale it to vary by {TINY:g} to {HUGE:g}"
        )
    if largest == 0:
        raise CorpusError("every column of X is constant; a context needs features that vary")
    return matrix
