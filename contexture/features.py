"""Columns -> X: impute, centre, scale, one-hot. What was fitted is kept as a `Recipe`.

The numbers in X depend on the corpus, never on how it is cut into partitions: medians and levels
are exact, and moments are taken about a centre, so that summation order is lost in rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import dask.array
import numpy as np
import pandas as pd
from dask.delayed import delayed
from dask_ml.preprocessing import StandardScaler
from numpy.typing import ArrayLike, NDArray

from contexture.corpus import Corpus, Partition, level_text, numbers
from contexture.errors import CorpusError

Matrix = NDArray[np.float64]

MISSING = "<missing>"
LEVELS_COUNTED = 100_000
"""Beyond so many levels of one column, counting them stops."""
ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""A spread below this, relative to the largest value, is rounding noise."""


@dataclass(frozen=True)
class Scaled:
    """A number or datetime column: z = ((x − centre) − offset) / scale.

    Parameters
    ----------
    name : str
        The column.
    kind : {"number", "datetime"}
        Datetimes are seconds since 1970.
    fill : float
        Stands for a missing value: the median where the corpus had missing values, else the mean.
    centre, offset : float
        Their sum is the mean; apart, the mean is exact even for 1e9 + something small.
    scale : float
        The population standard deviation.
    """

    name: str
    kind: Literal["number", "datetime"]
    fill: float
    centre: float
    offset: float
    scale: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of the one feature."""
        return (self.name,)

    def transform(self, column: pd.Series) -> Matrix:
        """Return the feature, of shape (r, 1)."""
        values = _as_numbers(column, self.name, self.kind)
        values = np.where(np.isnan(values), self.fill, values)
        return (((values - self.centre) - self.offset) / self.scale)[:, None]


@dataclass(frozen=True)
class OneHot:
    """A category column: one feature of 0 and 1 for each level.

    Parameters
    ----------
    name : str
        The column.
    levels : tuple of str
        By code point, or by value where the column holds numbers.
    missing : bool
        Whether "missing" is a level of its own, the last one.
    numeric : bool
        Whether the column holds numbers that stand for classes.
    """

    name: str
    levels: tuple[str, ...]
    missing: bool
    numeric: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features."""
        last = MISSING
        while last in self.levels:  # a text may say so itself
            last = f"<{last}>"
        return tuple(f"{self.name}={level}" for level in (*self.levels, *([last] * self.missing)))

    def transform(self, column: pd.Series) -> Matrix:
        """Return the features, of shape (r, levels); a level that was not fitted is all zeros."""
        texts = _as_levels(column, self.name, self.numeric)
        codes = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(texts, dtype=object))
        if self.missing:
            codes = np.where(pd.isna(texts), len(self.levels), codes)
        return np.asarray(codes[:, None] == np.arange(len(self.columns)), dtype=np.float64)


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

    steps: tuple[Scaled | OneHot, ...]
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
        hot = tuple(name for name in names if corpus.columns[name] == "category")
        summary = _fold([delayed(_summarise)(p, names, hot) for p in corpus.partitions])
        steps: dict[str, Scaled | OneHot] = {}
        for name in hot:
            levels, missing = summary[name].levels, summary[name].missing > 0
            if len(levels) + missing > max_levels:
                count = "more than " * (len(levels) > LEVELS_COUNTED)
                raise CorpusError(
                    f"column {name!r} has {count}{min(len(levels), LEVELS_COUNTED)} levels, and "
                    f"max_levels is {max_levels}; exclude it, make it the id, or raise max_levels"
                )
            if len(levels) + missing > 1:
                texts = tuple(map(level_text, sorted(levels)))
                steps[name] = OneHot(name, texts, missing, corpus.dtypes[name] != "str")
        steps |= _fit_scaled(corpus, {n: s for n, s in summary.items() if n not in hot})
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
        return _stack(corpus, self._partition, len(self.columns))

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
        return np.concatenate([step.transform(df[step.name]) for step in self.steps], axis=1)

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
            steps: dict[str, Scaled | OneHot] = {d["name"]: Scaled(**d) for d in values["scaled"]}
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

    def _partition(self, partition: Partition) -> Matrix:
        return self.transform_frame(partition.load([step.name for step in self.steps]))

    def _by_columns(self, partition: Partition) -> Matrix:
        # NumPy adds pairwise, and so accurately, only along the contiguous axis.
        return np.asfortranarray(self._partition(partition))


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
    array = np.asarray(X)
    if array.ndim != 2:
        raise CorpusError(f"X has shape {array.shape}; it must be (rows, columns)")
    if array.dtype.kind not in "biuf":
        raise CorpusError(f"X has dtype {array.dtype}; it must hold numbers")
    if 0 in array.shape:
        raise CorpusError(f"X has shape {array.shape}; it needs at least one row and one column")
    matrix = np.ascontiguousarray(array, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(matrix))
    if bad.size:
        row, column = bad[0]
        raise CorpusError(
            f"X is {matrix[row, column]} at row {row}, column {column}; every entry must be finite"
        )
    if (matrix == matrix[0]).all():
        raise CorpusError("every column of X is constant; a context needs features that vary")
    return matrix


@dataclass(frozen=True)
class _Summary:
    """One column over some rows; sums are of what is not missing."""

    rows: int
    missing: int
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    levels: frozenset[Any] = frozenset()

    def __add__(self, other: _Summary) -> _Summary:
        levels = self.levels | other.levels
        if len(levels) > LEVELS_COUNTED:
            levels = frozenset(list(levels)[: LEVELS_COUNTED + 1])
        return _Summary(
            self.rows + other.rows,
            self.missing + other.missing,
            min(self.low, other.low),
            max(self.high, other.high),
            self.total + other.total,
            levels,
        )


def _summarise(
    partition: Partition, names: tuple[str, ...], hot: tuple[str, ...]
) -> dict[str, _Summary]:
    frame, found = partition.load(names), {}
    for name in names:
        held = frame[name].dropna()
        missing = len(frame) - len(held)
        if name in hot:
            levels = frozenset(held.unique().tolist())
            found[name] = _Summary(len(frame), missing, levels=levels)
        elif len(held) == 0:
            found[name] = _Summary(len(frame), missing)
        else:
            values = numbers(held)
            with np.errstate(over="ignore"):
                total = float(values.sum())
            low, high = float(values.min()), float(values.max())
            found[name] = _Summary(len(frame), missing, low, high, total)
    return found


def _add(parts: list[dict[str, _Summary]]) -> dict[str, _Summary]:
    total = parts[0]
    for part in parts[1:]:
        total = {name: total[name] + part[name] for name in total}
    return total


def _fold(parts: list[Any]) -> dict[str, _Summary]:
    while len(parts) > 1:  # as a tree, so that no worker holds the levels of all partitions
        parts = [delayed(_add)(parts[i : i + 8]) for i in range(0, len(parts), 8)]
    result: dict[str, _Summary] = parts[0].compute()
    return result


def _fit_scaled(corpus: Corpus, summary: dict[str, _Summary]) -> dict[str, Scaled | OneHot]:
    """Fit the columns that vary, by dask-ml's scaler on columns that are centred already."""
    rough: list[Scaled] = []
    for name, found in summary.items():
        if not found.low < found.high:
            continue
        if max(abs(found.low), abs(found.high)) > np.finfo(np.float64).max / (4 * found.rows):
            # The sum might overflow in one partitioning and not in another.
            raise CorpusError(
                f"column {name!r} reaches from {found.low} to {found.high}, which is too far to "
                "be scaled in floating point; rescale or exclude it"
            )
        fill = found.total / (found.rows - found.missing)
        centre = fill
        if found.missing:
            # Dask's quantiles are approximate and depend on the partitions.
            fill = float(np.nanmedian(numbers(corpus.frame()[name].compute())))
            centre += (fill - centre) * (found.missing / found.rows)
        spread = max(found.high - centre, centre - found.low)
        # To the unit interval by a power of two, which is exact: squares can neither overflow
        # nor vanish.
        kind: Any = corpus.columns[name]
        rough.append(
            Scaled(name, kind, fill, centre, 0.0, float(np.exp2(np.ceil(np.log2(spread)))))
        )
    if not rough:
        return {}
    scaler = StandardScaler().fit(_stack(corpus, Recipe(tuple(rough))._by_columns, len(rough)))
    fitted: dict[str, Scaled | OneHot] = {}
    for step, mean, variance in zip(rough, scaler.mean_, scaler.var_, strict=True):
        deviation = float(np.sqrt(variance)) * step.scale
        found = summary[step.name]
        if deviation > ROUNDING * max(abs(found.low), abs(found.high)):
            fitted[step.name] = Scaled(
                step.name, step.kind, step.fill, step.centre, float(mean) * step.scale, deviation
            )
    return fitted


# Dask is only half typed.
_from_delayed: Any = dask.array.from_delayed
_concatenate: Any = dask.array.concatenate


def _stack(corpus: Corpus, of: Callable[[Partition], Matrix], width: int) -> dask.array.Array:
    blocks = [
        _from_delayed(delayed(of)(part), shape=(part.rows, width), dtype=np.float64)
        for part in corpus.partitions
    ]
    stacked: dask.array.Array = _concatenate(blocks)
    return stacked


def _as_numbers(column: pd.Series, name: str, kind: str) -> Matrix:
    try:
        if kind == "datetime":
            column = pd.to_datetime(column, utc=True).dt.tz_localize(None)
        values = numbers(column)
    except (ValueError, TypeError) as error:
        raise CorpusError(f"column {name!r} must hold {kind} values; {error}") from error
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise CorpusError(f"column {name!r} is infinite in row {infinite[0]}; correct the value")
    return values


def _as_levels(column: pd.Series, name: str, numeric: bool) -> NDArray[np.object_]:
    if numeric:
        values = _as_numbers(column, name, "number")
        unique, places = np.unique(values, return_inverse=True)
        texts = np.array([None if v != v else level_text(v) for v in unique], dtype=object)
        return texts[places]
    held = column.astype(object)
    return np.array([None if m else str(v) for v, m in zip(held, held.isna(), strict=True)], object)
