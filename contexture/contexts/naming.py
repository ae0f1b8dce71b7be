"""What the names in a table stand for: rows of the corpus, or values numbered as they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from contexture.contexts.tables import PIECE_ROWS
from contexture.errors import ContextError
from contexture.inputs import require_different

Numbers: TypeAlias = npt.NDArray[np.int32]


def places_of(ids: npt.NDArray[np.generic]) -> dict[str, int]:
    """Where in the corpus each id stands, by its text.

    Raises
    ------
    InputError
        If two rows have the same id.
    """
    texts = list(map(str, ids.tolist()))
    places = {name: place for place, name in enumerate(texts)}
    require_different(texts, len(places))
    return places


def rows_named(
    piece: pd.DataFrame,
    columns: Sequence[str],
    places: Mapping[str, int],
    path: str,
    label: str,
    what: str,
) -> list[Numbers]:
    """Find the corpus rows that columns of a file name.

    Parameters
    ----------
    piece : DataFrame
        r rows of the file, as `read_table` gives them.
    columns : sequence of str
        The columns that hold names.
    places : mapping
        As `places_of` gives it.
    path, label, what
        Of the file, of the context, and what is named; for the message.

    Returns
    -------
    list of ndarray of shape (r,)
        For every column.

    Raises
    ------
    ContextError
        If a column names a row that the corpus does not have.
    """
    found: list[Numbers] = []
    unknown: dict[str, None] = {}
    for column in columns:
        codes, names = _factorize(piece[column])
        rows = np.fromiter((places.get(name, -1) for name in names), np.int32, len(names))
        unknown.update(dict.fromkeys(names[i] for i in np.flatnonzero(rows < 0)))
        found.append(rows[codes])
    if unknown:
        read = int(piece.index[-1]) + 1
        part = f" in its first {read:,} rows" if read % PIECE_ROWS == 0 else ""
        examples = ", ".join(f"'{name}'" for name in list(unknown)[:3])
        raise ContextError(
            f"context '{label}': '{path}' names {len(unknown)} {what}(s){part} that are no id of "
            f"the corpus, such as {examples}; names must match the id column (row numbers from 0 "
            "if there is none)."
        )
    return found


def numbered(names: pd.Series, known: dict[str, int]) -> Numbers:
    """Give names numbers in the order in which they come; new ones are added to ``known``."""
    codes, distinct = _factorize(names)
    numbers = (known.setdefault(name, len(known)) for name in distinct)
    return np.fromiter(numbers, np.int32, len(distinct))[codes]


def in_order(known: Iterable[str]) -> tuple[npt.NDArray[np.object_], Numbers]:
    """Sort names that were `numbered`; returns them, and the new number of each old one."""
    names = np.array(list(known), dtype=object)
    order = np.argsort(names)
    numbers = np.empty(len(names), dtype=np.int32)
    numbers[order] = np.arange(len(names), dtype=np.int32)
    return names[order], numbers


def _factorize(column: pd.Series) -> tuple[npt.NDArray[np.intp], list[str]]:
    # pandas writes moments as dates where all are midnight, and durations as days where all are
    # whole ones, which is not for a piece to decide.
    text = column.map(str) if column.dtype.kind in "mM" else column.astype(str)
    codes, names = pd.factorize(text)
    # Through NumPy: one by one, pandas hands them out slowly.
    return codes, np.asarray(names, dtype=object).tolist()
