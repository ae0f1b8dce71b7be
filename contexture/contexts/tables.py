"""Tables that a context brings along: edge lists and counts, read from CSV or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from contexture.errors import ContextError
from contexture.inputs import FloatArray

_BUFFER = 1 << 20

PIECE_ROWS = 1 << 14
"""Rows of a table held as text at a time; as text they take several times what they become."""


def file_fingerprint(path: str, label: str) -> str:
    """Hash of a file's bytes, read piece by piece.

    Raises
    ------
    ContextError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    with _reading(path, label), fsspec.open(path, "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()[:16]


def read_table(
    path: str, columns: Sequence[str], label: str, optional: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """Read the named columns of a CSV (or TSV) or Parquet file, as they are written.

    Parameters
    ----------
    path : str
        File or URL; ``.parquet`` is read as Parquet, ``.tsv`` with tabs, all else as CSV.
    columns : sequence of str
        The columns needed.
    label : str
        Name of the context, for messages.
    optional : sequence of str
        Columns that are returned if they are there.

    Yields
    ------
    DataFrame
        At most `PIECE_ROWS` rows, numbered from 0 over the whole file; one at least.

    Raises
    ------
    ContextError
        If the file cannot be read, has no rows, lacks a column, or a value in one of them.
    """
    wanted = [*columns, *(name for name in optional if name not in columns)]
    rows = 0
    for names, piece in _pieces(path, wanted, label):
        missing = [name for name in columns if name not in names]
        if missing:
            raise ContextError(
                f"context '{label}': '{path}' has no column '{missing[0]}'; its columns are: "
                f"{', '.join(names)}."
            )
        if not isinstance(piece.index, pd.RangeIndex):
            # pandas takes what comes before the last fields for names of the rows.
            raise ContextError(
                f"context '{label}': row 1 of '{path}' has {len(names) + piece.index.nlevels} "
                f"fields, but its header names {len(names)}; name every column, and end no row "
                "with a separator."
            )
        if piece.empty:
            continue
        piece = piece[[name for name in wanted if name in names]]
        piece.index = pd.RangeIndex(rows, rows + len(piece))
        rows += len(piece)
        _require_values(piece, path, label)
        yield piece
    if rows == 0:
        raise ContextError(f"context '{label}': '{path}' has no rows.")


def _pieces(path: str, wanted: list[str], label: str) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Names of all columns, and some rows of those that are wanted; of no rows if there are none.

    What is raised while the caller has a piece does not come by here.
    """
    with _reading(path, label), fsspec.open(path, "rb") as file:
        if path.endswith((".parquet", ".pq")):
            yield from _parquet_pieces(file, wanted)
            return
        separator = "\t" if path.endswith(".tsv") else ","
        # Names are names: 007 stays 007, and "NA" is a node like any other.
        with pd.read_csv(
            file, sep=separator, dtype=str, keep_default_na=False, chunksize=PIECE_ROWS
        ) as pieces:
            for piece in pieces:
                yield list(map(str, piece.columns)), piece


def _parquet_pieces(file: IO[bytes], wanted: list[str]) -> Iterator[tuple[list[str], pd.DataFrame]]:
    table = pq.ParquetFile(file, buffer_size=_BUFFER)  # else whole columns of a row group
    names = table.schema_arrow.names
    present = [name for name in wanted if name in names]
    yield names, pd.DataFrame(columns=present)
    for batch in table.iter_batches(PIECE_ROWS, columns=present, use_threads=False):
        # An index that pandas noted down would be one of the whole table.
        yield names, batch.to_pandas(ignore_metadata=True)


def _require_values(piece: pd.DataFrame, path: str, label: str) -> None:
    for name, column in piece.items():
        empty = np.flatnonzero(column.isna())
        if empty.size:
            raise ContextError(
                f"context '{label}': column '{name}' of '{path}' has no value in row "
                f"{piece.index[empty[0]] + 1}; give it one, or leave the row out."
            )


def read_amounts(column: pd.Series, path: str, label: str, what: str) -> FloatArray:
    """Read a column of weights or counts: numbers, finite, not negative.

    Raises
    ------
    ContextError
        Naming the first row that holds anything else.
    """
    amounts = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(amounts))
    if bad.size:
        raise ContextError(
            f"context '{label}': the {what} in row {column.index[bad[0]] + 1} of '{path}' is "
            f"{column.iloc[bad[0]]!r}; a finite number is needed."
        )
    negative = np.flatnonzero(amounts < 0)
    if negative.size:
        raise ContextError(
            f"context '{label}': the {what} in row {column.index[negative[0]] + 1} of '{path}' is "
            f"{amounts[negative[0]]:g}; negative {what}s have no meaning here."
        )
    return amounts


def name_from_path(kind: str, path: str) -> str:
    """Default name of a context that is a file: its kind and the stem of the file."""
    stem = path.rstrip("/").rsplit("/", 1)[-1].split(".", 1)[0]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem)
    return f"{kind}-{safe}"[:80]


@contextmanager
def _reading(path: str, label: str) -> Iterator[None]:
    """Raise `ContextError` in place of whatever opening or parsing a file raises."""
    try:
        yield
    except MemoryError:
        raise
    # Packages for remote files raise what they like, some of it at the first word.
    except Exception as error:
        raise ContextError(_sentence(path, label, error)) from error


def _sentence(path: str, label: str, error: Any) -> str:
    start = f"context '{label}': cannot read '{path}'"
    if isinstance(error, FileNotFoundError):
        return f"{start}: no such file; check the path."
    if isinstance(error, IsADirectoryError):
        return f"{start}: it is a folder; name a file in it."
    if isinstance(error, UnicodeDecodeError):
        return f"{start}: it is not UTF-8 text; save it as UTF-8."
    lines = str(error).strip().splitlines() or [type(error).__name__]
    what = lines[0][:200].rstrip(". ")
    if isinstance(error, ImportError):
        return f"{start}: it needs a package that is not installed: {what}."
    if what.startswith("Protocol not known"):
        return (
            f"{start}: there is no protocol '{path.split('://', 1)[0]}'; give a file, or a URL "
            "that fsspec knows, such as s3://bucket/table.csv."
        )
    if isinstance(error, ValueError):  # what parsers raise
        return f"{start}: {what}; correct the file."
    if "://" in path:
        return f"{start}: {what}; check its address, the network and your credentials."
    return f"{start}: {what}; check the file and the right to read it."
