"""The inputs X as the mathematics sees them: rows of numbers with names and weights."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from contexture.errors import InputError
from contexture.features import validate_matrix
from contexture.values import LEAST_WEIGHT

FloatArray: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 or float64
IntArray: TypeAlias = npt.NDArray[np.int64]


class RowsOfX(Protocol):
    """A two-dimensional array read by row slices: a NumPy or a Zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, D)``."""
        ...

    def __getitem__(self, key: slice, /) -> Any: ...


class Labels(Protocol):
    """Names of the rows: a NumPy array, or one in Zarr that is read where it is needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Features:
    """The inputs X as numbers, one row a sample.

    Parameters
    ----------
    X : array of shape (n, D)
        Anything with ``shape`` that gives NumPy rows by slicing: NumPy or Zarr.
    ids : array of shape (n,)
        What the corpus calls its rows; contexts that come as files refer to them. NumPy, or
        anything that gives NumPy by slices and by positions.
    input_weights : ndarray of shape (n,)
        P_X, adding up to 1.
    fingerprint : str
        Identifies the content of ``X``, ``ids`` and ``input_weights``.
    """

    X: RowsOfX
    ids: Labels
    input_weights: FloatArray
    fingerprint: str

    @classmethod
    def from_array(
        cls,
        X: npt.ArrayLike,
        ids: npt.ArrayLike | None = None,
        input_weights: npt.ArrayLike | None = None,
    ) -> Self:
        """Wrap a matrix that is in memory.

        Parameters
        ----------
        X : array-like of shape (n, D)
            Finite numbers.
        ids : array-like of shape (n,), optional
            Names of the rows; 0 .. n-1 by default.
        input_weights : array-like of shape (n,), optional
            Positive weights of the rows, not necessarily normalised; equal by default.

        Raises
        ------
        CorpusError
            If the matrix is empty or sparse, or holds masked, NaN or infinite values.
        InputError
            If there is not one id or weight a row, or two rows have the same id.
        """
        matrix = validate_matrix(X)
        n = len(matrix)
        if np.ma.is_masked(ids):
            raise InputError(
                f"the id of row {_first_masked(ids)} is masked; every row needs an id."
            )
        names = np.arange(n) if ids is None else np.asarray(ids)
        if names.shape != (n,):
            raise InputError(f"ids have shape {names.shape}; one a row is needed: ({n},).")
        texts = list(map(str, names.tolist()))
        require_different(texts, len(set(texts)))
        weights = np.full(n, 1.0 / n) if input_weights is None else normalise(input_weights, n)
        content = hashlib.sha256(matrix.data)  # in C order: the bytes without a copy
        content.update(weights.tobytes())
        content.update("\n".join(texts).encode())
        return cls(matrix, names, weights, content.hexdigest()[:16])

    @property
    def names(self) -> npt.NDArray[Any]:
        """All of `ids`, in memory."""
        return np.asarray(self.ids[:])

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, D)``: samples and features."""
        return int(self.X.shape[0]), int(self.X.shape[1])


def require_different(ids: Sequence[str], different: int) -> None:
    """Refuse ids of which only so many are different, unless that is all."""
    if different < len(ids):
        times = Counter(ids)
        repeated = next(name for name in ids if times[name] > 1)
        raise InputError(f"the id '{repeated}' is given more than once; ids must be unique.")


def _first_masked(values: Any) -> int:
    return int(np.argwhere(np.ma.getmaskarray(values))[0, 0])


def normalise(weights: npt.ArrayLike, n: int) -> FloatArray:
    """Check n positive weights and let them add up to 1."""
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n,):
        raise InputError(f"weights have shape {array.shape}; one number a row is needed: ({n},).")
    if np.ma.is_masked(weights):
        raise InputError(
            f"the weight of row {_first_masked(weights)} is masked; weights must be positive and "
            "finite."
        )
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if bad.size:
        raise InputError(
            f"the weight of row {bad[0]} is {array[bad[0]]}; weights must be positive and finite."
        )
    given, largest = array, array.max()
    array = array / largest  # so that the sum cannot overflow
    lost = np.flatnonzero(array < LEAST_WEIGHT)
    if lost.size:
        raise InputError(
            f"the weight of row {lost[0]} is {given[lost[0]]:.3g} and the largest is "
            f"{largest:.3g}: too far apart to be told from 0; leave such rows out."
        )
    normalised: FloatArray = array / array.sum()
    return normalised
