"""The corpus: rows in partitions, the roles of its columns, and a fingerprint of its content.

A corpus holds no data. It knows where its rows lie, how many there are and what they hash to;
the rows themselves are read partition by partition, here or on a Dask worker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dask.dataframe as dd
import numpy as np
import pandas as pd

from contexture.errors import CorpusError
from contexture.partition import Partition, load_partition
from contexture.targets import TargetColumn, find_keys
from contexture.values import LEAST_WEIGHT

Kind = Literal["number", "category", "datetime"]
"""What a column is to a model; decided over the whole corpus, never over one partition."""


@dataclass(frozen=True)
class Target:
    """One target of the corpus.

    Parameters
    ----------
    name : str
        The column.
    kind : {"number", "class"}
        Whether it is a quantity or one of several classes.
    values : ndarray of shape (n,)
        float64 with NaN for missing, or int64 codes into `levels` with -1 for missing.
    levels : tuple of str
        The classes, sorted; empty for numbers.
    """

    name: str
    kind: Literal["number", "class"]
    values: np.ndarray[Any, Any]
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Rows in partitions, and what their columns are for.

    Parameters
    ----------
    partitions : tuple of Partition
        In order; at least one.
    columns : dict of str to {"number", "category", "datetime"}
        Every column that has a role, with its kind.
    feature_columns : tuple of str
        The columns that X is made of; at least one.
    targets : tuple of str
        Columns that are predicted.
    id_column, weights_column : str, optional
        The columns that name and weigh the rows.
    source : str
        A short description of where the data come from, for people.
    """

    partitions: tuple[Partition, ...]
    columns: Mapping[str, Kind]
    feature_columns: tuple[str, ...]
    targets: tuple[str, ...] = ()
    id_column: str | None = None
    weights_column: str | None = None
    source: str = field(default="", compare=False)

    @property
    def rows(self) -> int:
        """Number of rows n."""
        return sum(partition.rows for partition in self.partitions)

    @property
    def dtypes(self) -> dict[str, str]:
        """The pandas dtype of every column in `frame`."""
        return dict(self.partitions[0].dtypes)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for the content, its order and the columns' roles.

        The roles and kinds are part of it, because the same bytes with another target, or with a
        column excluded, give another X.
        """
        content = [
            [partition.fingerprint for partition in self.partitions],
            [[name, kind, self.dtypes[name]] for name, kind in self.columns.items()],
            [self.feature_columns, self.targets, self.id_column, self.weights_column],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def frame(self) -> dd.DataFrame:
        """Return all columns lazily, one Dask partition for each of `partitions`."""
        starts = [partition.start for partition in self.partitions]
        meta = pd.DataFrame({k: pd.Series([], dtype=v) for k, v in self.dtypes.items()})
        # Dask is only half typed.
        from_map: Any = dd.from_map
        frame: dd.DataFrame = from_map(
            load_partition,
            list(self.partitions),
            meta=meta.set_index(pd.RangeIndex(0)),
            divisions=(*starts, self.rows - 1),
        )
        return frame

    def ids(self) -> np.ndarray[Any, Any]:
        """Return what the rows are called.

        Returns
        -------
        ndarray of shape (n,)
            int64, or text in NumPy's StringDType; row numbers where no column was named.

        Raises
        ------
        CorpusError
            If two rows have the same id, one has none, or one is a number that is not exact.
        """
        name = self.id_column
        if name is None:
            return np.arange(self.rows, dtype=np.int64)
        column = self._column(name)
        missing = np.flatnonzero(column.isna().to_numpy())
        if missing.size:
            raise CorpusError(
                f"id column {name!r} is missing in row {missing[0]} ({missing.size} in all); "
                "every row needs an id"
            )
        if self.dtypes[name] == "float64":
            values = column.to_numpy()
            # Before repeats are looked for: beyond 2**53 different numbers may have become one.
            whole = (values == np.round(values)) & (np.abs(values) <= 2.0**53)
            if not whole.all():
                row = int(np.flatnonzero(~whole)[0])
                raise CorpusError(
                    f"id column {name!r} holds {values[row]} in row {row}; an id must be text or a "
                    "whole number (below 2**53 if it is stored as a floating number, or if one of "
                    "them is 2**63 or more)"
                )
        repeated = np.flatnonzero(column.duplicated().to_numpy())
        if repeated.size:
            first = column.iloc[repeated[0]]
            times = int((column == first).sum())
            raise CorpusError(
                f"id column {name!r} holds {first!r} {times} times (again in row {repeated[0]}); "
                f"{repeated.size} rows repeat an earlier id, but ids must be unique"
            )
        if self.dtypes[name] == "str":
            return np.array(column.astype(object).tolist(), dtype=np.dtypes.StringDType())
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def weights(self) -> np.ndarray[Any, Any]:
        """Return the law of X over the rows.

        Returns
        -------
        ndarray of shape (n,)
            float64, positive, with sum 1; where no column was named, one number for all rows,
            read-only and without any memory a row.

        Raises
        ------
        CorpusError
            If a weight is missing, infinite, negative or zero.
        """
        if self.weights_column is None:
            return np.broadcast_to(1.0 / self.rows, (self.rows,))
        values = self._column(self.weights_column).to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if wrong.size:
            raise CorpusError(
                f"weights column {self.weights_column!r} holds {values[wrong[0]]} in row "
                f"{wrong[0]}; weights must be positive and finite, so correct or remove the row"
            )
        scaled = values / values.max()  # so that the sum cannot overflow
        lost = np.flatnonzero(scaled < LEAST_WEIGHT)
        if lost.size:
            raise CorpusError(
                f"weights column {self.weights_column!r} holds {values[lost[0]]:.3g} in row "
                f"{lost[0]} and {values.max():.3g} elsewhere: too far apart to be told from 0; "
                "remove such rows"
            )
        return np.asarray(scaled / scaled.sum())

    def target_columns(self) -> tuple[TargetColumn, ...]:
        """Describe the targets, in the order in which they were named; classes take a pass."""
        classes = tuple(name for name in self.targets if self.columns[name] == "category")
        keys = dict(zip(classes, find_keys(self._frames(classes), classes), strict=True))
        return tuple(
            TargetColumn(name, "class" if name in keys else "number", keys.get(name, ()))
            for name in self.targets
        )

    def target_blocks(
        self, columns: Sequence[TargetColumn]
    ) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        """Values of the targets, partition by partition, in one pass.

        Raises
        ------
        CorpusError
            If a numeric target is infinite.
        """
        for frame in self._frames(tuple(column.name for column in columns)):
            yield tuple(column.values(frame[column.name]) for column in columns)

    def read_targets(self) -> tuple[Target, ...]:
        """Read the targets, in the order in which they were named.

        Raises
        ------
        CorpusError
            If a numeric target is infinite.
        """
        columns = self.target_columns()
        blocks = list(self.target_blocks(columns))
        return tuple(
            Target(c.name, c.kind, np.concatenate([block[i] for block in blocks]), c.levels)
            for i, c in enumerate(columns)
        )

    def _frames(self, names: tuple[str, ...]) -> Iterator[pd.DataFrame]:
        """Read some columns, partition by partition; nothing if none is named."""
        return (p.load(names) for p in self.partitions if names)

    def _column(self, name: str) -> pd.Series:
        column: pd.Series = self.frame()[name].compute()
        return column
