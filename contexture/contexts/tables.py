"""Tables that a context brings along: edge lists and counts, read from CSV or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import fsspec
import numpy as np
import pandas as pd

from contexture.errors import ContextError
from contexture.inputs import FloatArray, IntArray


def file_fingerprint(path: str, label: str) -> str:
    """Hash of a file's bytes, read piece by piece.

    Raises
    ------
    ContextError
        If there is no such file.
    """
    digest = hashlib.sha256()
    try:
        with fsspec.open(path, "rb") as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    except OSError as error:
        raise _unreadable(path, label, error) from error
    return digest.hexdigest()[:16]


def _unreadable(path: str, label: str, error: Exception) -> ContextError:
    if isinstance(error, FileNotFoundError):
        return ContextError(
            f"context '{label}': cannot read '{path}': no such file; check the path."
        )
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return ContextError(f"context '{label}': cannot read '{path}': {first}")


def read_table(
    path: str, columns: Sequence[str], label: str, optional: Sequence[str] = ()
) -> pd.DataFrame:
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

    Raises
    ------
    ContextError
        If the file is missing, malformed, has no rows, or lacks a column.
    """
    try:
        with fsspec.open(path, "rb") as file:
            if path.endswith((".parquet", ".pq")):
                frame = pd.read_parquet(file)
            else:
                separator = "\t" if path.endswith(".tsv") else ","
                # Names are names: 007 stays 007, and "NA" is a node like any other.
                frame = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise _unreadable(path, label, error) from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns))
        raise ContextError(
            f"context '{label}': '{path}' has no column '{missing[0]}'; its columns are: {found}."
        )
    if frame.empty:
        raise ContextError(f"context '{label}': '{path}' has no rows.")
    present = [name for name in optional if name in frame.columns and name not in columns]
    return frame[[*columns, *present]]


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
            f"context '{label}': the {what} in row {bad[0] + 1} of '{path}' is "
            f"{column.iloc[bad[0]]!r}; a finite number is needed."
        )
    negative = np.flatnonzero(amounts < 0)
    if negative.size:
        raise ContextError(
            f"context '{label}': the {what} in row {negative[0] + 1} of '{path}' is "
            f"{amounts[negative[0]]:g}; negative {what}s have no meaning here."
        )
    return amounts


def positions_of(names: pd.Series, ids: np.ndarray, path: str, label: str, what: str) -> IntArray:
    """Find the corpus rows that a column of the file names.

    Raises
    ------
    ContextError
        If it names a row that the corpus does not have.
    """
    index = pd.Index([str(i) for i in ids.tolist()])
    positions = index.get_indexer(pd.Index(names.astype(str)))
    unknown = np.flatnonzero(positions < 0)
    if unknown.size:
        examples = ", ".join(f"'{name}'" for name in names.iloc[unknown].unique()[:3])
        raise ContextError(
            f"context '{label}': '{path}' names {names.iloc[unknown].nunique()} {what}(s) that "
            f"are no id of the corpus, such as {examples}; names must match the id column "
            "(row numbers from 0 if there is none)."
        )
    return positions.astype(np.int64)


def require_no_empty_rows(sums: FloatArray, ids: np.ndarray, label: str, what: str) -> None:
    """Refuse inputs about which the context says nothing (theory.md §1).

    Raises
    ------
    ContextError
        Naming some of them.
    """
    empty = np.flatnonzero(sums <= 0)
    if empty.size:
        examples = ", ".join(f"'{name}'" for name in ids[empty[:3]].tolist())
        raise ContextError(
            f"context '{label}': {empty.size} row(s) of the corpus have no {what}, such as "
            f"{examples}; give them one, or leave these rows out of the corpus."
        )


def name_from_path(kind: str, path: str) -> str:
    """Default name of a context that is a file: its kind and the stem of the file."""
    stem = path.rstrip("/").rsplit("/", 1)[-1].split(".", 1)[0]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem)
    return f"{kind}-{safe}"[:80]
