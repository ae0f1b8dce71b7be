"""Tables that are already in memory -> Corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from contexture.corpus import Corpus
from contexture.partition import Block
from contexture.readers.assemble import assemble
from contexture.readers.base import BLOCKSIZE, Reader
from contexture.readers.failures import reading
from contexture.readers.roles import feature_columns, used
from contexture.readers.scan import Scan
from contexture.readers.tables import frame_of, scan_table


@dataclass(frozen=True, eq=False)
class TableBlock:
    """Some rows of a table in memory; pickled with its rows.

    Parameters
    ----------
    table : pyarrow.Table
        The rows.
    source : str
        Where they came from, for messages.
    """

    table: pa.Table
    source: str

    def frame(self, dtypes: Mapping[str, str]) -> pd.DataFrame:
        """Return the named columns, each in the dtype given for it."""
        return frame_of(self.table, dtypes, self.source)


def corpus_of(
    frame: pd.DataFrame, reader: Reader, source: str, blocksize: int = BLOCKSIZE
) -> Corpus:
    """Describe a data frame as a corpus.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows; its index is ignored.
    reader : Reader
        Says who plays which role.
    source : str
        Where the rows came from, for messages.
    blocksize : int
        Bytes in a partition, about.

    Raises
    ------
    CorpusError
        If a column cannot be used, or cannot take its role.
    """
    names = tuple(map(str, frame.columns))
    features = feature_columns(reader, names, source)
    wanted = [name for name in names if name in {*features, *used(reader)}]
    with reading(source):
        table = pa.Table.from_pandas(frame.set_axis(names, axis=1)[wanted], preserve_index=False)
    # Eight bytes a value, whatever they hold, so that appending rows leaves partitions alone.
    step = max(1, blocksize // (8 * len(wanted)))
    return assemble(reader, _pieces(table, source, step), source, names=names)


def _pieces(table: pa.Table, source: str, step: int) -> Iterator[tuple[Block, Scan]]:
    for start in range(0, table.num_rows, step):
        # A copy, since a slice would be pickled with the whole table behind it.
        part = table.take(pa.array(range(start, min(start + step, table.num_rows))))
        yield TableBlock(part, source), scan_table(part, source, start=start)
