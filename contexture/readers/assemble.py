"""Blocks and what was found in them -> Corpus."""

from __future__ import annotations

from collections.abc import Iterable

from contexture.corpus import Corpus, Kind
from contexture.errors import CorpusError
from contexture.partition import Block, Partition
from contexture.readers.base import Reader
from contexture.readers.roles import feature_columns, used
from contexture.readers.scan import Facts, Scan, merged

NUMBERS = ("int64", "float64")
"""What is found in columns of numbers."""


def assemble(
    reader: Reader,
    pieces: Iterable[tuple[Block, Scan]],
    source: str,
    *,
    names: tuple[str, ...] | None = None,
    textual: bool = False,
    missing_allowed: bool = True,
) -> Corpus:
    """Make a corpus of blocks, taking them one at a time.

    Parameters
    ----------
    reader : Reader
        Says who plays which role.
    pieces : iterable of (Block, Scan)
        In order. Each block is forgotten before the next is asked for.
    source : str
        Where the data come from, for messages.
    names : tuple of str, optional
        All columns of the source, in order, where it says so itself; else those that were found.
    textual : bool
        Whether numbers are spelled out in the source, so that an id is a number only if it is
        spelled as a whole one ("007" is not).
    missing_allowed : bool
        Whether NaN in a feature is a missing value; an error otherwise.

    Raises
    ------
    CorpusError
        If there are no rows, a column cannot take its role, a feature is infinite, or numbers that
        stand for classes would be rounded.
    """
    scanned: list[tuple[Block, int, Scan]] = []
    facts: dict[str, Facts] = {}
    rows = 0
    for block, scan in pieces:
        if scan.rows == 0:
            continue
        for name in [*facts, *(new for new in scan.facts if new not in facts)]:
            # A column that a block does not have is missing in all its rows.
            known = facts.get(name) or Facts("null", 0 if rows else None)
            facts[name] = merged(known, scan.facts.get(name, Facts("null", 0)), rows)
        # The facts are merged; what is kept of a block is a few dozen bytes.
        scanned.append((block, rows, Scan(scan.rows, scan.fingerprint, {})))
        rows += scan.rows
    if not scanned:
        raise CorpusError(f"{source} has no rows; there is nothing to read")
    names = tuple(facts) if names is None else names
    features = feature_columns(reader, names, source)
    _check_values(reader, features, facts, source, missing_allowed)
    kept = [name for name in names if name in {*features, *used(reader)}]
    dtypes = tuple((name, _dtype(reader, name, facts[name], textual)) for name in kept)
    return Corpus(
        partitions=tuple(
            Partition(block, start, scan.rows, scan.fingerprint, dtypes)
            for block, start, scan in scanned
        ),
        columns={name: _kind(reader, name, dtype) for name, dtype in dtypes},
        feature_columns=features,
        targets=reader.targets,
        id_column=reader.id,
        weights_column=reader.weights,
        source=source,
    )


def _dtype(reader: Reader, name: str, facts: Facts, textual: bool) -> str:
    found = facts.found
    if name == reader.id:
        if found == "int64" or (found == "float64" and not textual):
            return found
        return "str"
    if found in ("bool", "str") or (found == "datetime" and name in reader.categorical):
        return "str"
    if found in NUMBERS and name in reader.categorical and facts.first_lossy is not None:
        return "str"  # else classes would become one
    return "datetime64[us]" if found == "datetime" else "float64"


def _kind(reader: Reader, name: str, dtype: str) -> Kind:
    if dtype == "str" or name in reader.categorical:
        return "category"
    return "datetime" if dtype == "datetime64[us]" else "number"


def _check_values(
    reader: Reader,
    features: tuple[str, ...],
    facts: dict[str, Facts],
    source: str,
    missing_allowed: bool,
) -> None:
    for name in features:
        row = facts[name].first_infinite
        if row is not None and facts[name].found == "float64":
            raise CorpusError(
                f"column {name!r} of {source} is infinite in row {row}; "
                "correct the value, or exclude the column"
            )
        row = facts[name].first_missing
        if row is not None and not missing_allowed:
            raise CorpusError(
                f"column {name!r} of {source} is NaN in row {row}; an array cannot say whether "
                "that means missing, so correct the value or exclude the column"
            )
    for name in reader.categorical:
        known = facts.get(name)  # not there if the column is not used
        if known is None or known.found not in NUMBERS or not known.floating:
            continue
        if known.first_lossy is not None:
            raise CorpusError(
                f"column {name!r} of {source} stands for classes and holds a whole number of 2**53 "
                f"or more in row {known.first_lossy}, but some of its numbers are read in floating "
                "point, which may make one class of two; write them as text"
            )
    if reader.id is not None and facts[reader.id].first_missing is not None:
        raise CorpusError(
            f"id column {reader.id!r} is missing in row {facts[reader.id].first_missing}; "
            "every row needs an id"
        )
    if reader.weights is not None and facts[reader.weights].found in ("bool", "str", "datetime"):
        raise CorpusError(
            f"weights column {reader.weights!r} of {source} does not hold numbers; "
            "name a column of positive numbers"
        )
