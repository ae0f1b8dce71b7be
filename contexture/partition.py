"""A partition: a run of consecutive rows that can be read by itself, on any worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from contexture.errors import CorpusError


class Block(Protocol):
    """A stretch of the raw source that can be read by itself, on any worker."""

    def frame(self, dtypes: Mapping[str, str]) -> pd.DataFrame:
        """Read the named columns, each in the dtype given for it."""
        ...


@dataclass(frozen=True)
class Partition:
    """A run of consecutive rows.

    Parameters
    ----------
    block : Block
        Where the rows lie; small and picklable.
    start : int
        Number of the first row in the corpus, from 0.
    rows : int
        How many rows there are, at least 1.
    fingerprint : str
        SHA-256 of the content in hex: the same in every process and on every machine.
    dtypes : tuple of (str, str)
        Columns and their pandas dtypes, the same in every partition of a corpus.
    """

    block: Block
    start: int
    rows: int
    fingerprint: str
    dtypes: tuple[tuple[str, str], ...]

    def load(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the rows.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns to read, all by default.

        Returns
        -------
        pandas.DataFrame
            ``rows`` rows, indexed by their number in the corpus. Numbers are float64 with NaN for
            missing, text is ``str``, datetimes are datetime64[us].

        Raises
        ------
        CorpusError
            If the source is gone or was changed after it was opened.
        """
        dtypes = dict(self.dtypes)
        wanted = dtypes if columns is None else {name: dtypes[name] for name in columns}
        frame = self.block.frame(wanted)
        if len(frame) != self.rows:
            raise CorpusError(
                f"the data changed while they were being read: rows {self.start} to "
                f"{self.start + self.rows - 1} are now {len(frame)} rows; open the corpus again"
            )
        frame.index = pd.RangeIndex(self.start, self.start + self.rows)
        return frame


def load_partition(partition: Partition, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read one partition; a library function, so that Dask workers can import it."""
    return partition.load(columns)
