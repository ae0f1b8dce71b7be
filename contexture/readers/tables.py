"""Arrow columns: what is in them, what they hash to, and how they become a data frame."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from contexture.errors import CorpusError
from contexture.readers.scan import EXACT, Facts, Found, Scan
from contexture.readers.text import is_unicode, not_unicode

WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"
"""A whole number spelled in the one way in which Python would spell it."""

SPELLED_WHOLE = r"^[+-]?[0-9]+(\.0*)?$"
LEADING_ZERO = r"^[+-]?0[0-9]"


def plain(column: pa.ChunkedArray, name: str, source: str) -> pa.Array:
    """Reduce a column to one of null, bool, int64, float64, timestamp[us] and large_string.

    Raises
    ------
    CorpusError
        If it holds anything else, such as lists.
    """
    kind = column.type
    if pt.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        target = pa.large_string()
    elif pt.is_uint64(kind) and (pc.max(column).as_py() or 0) > np.iinfo(np.int64).max:
        target = pa.float64()
    elif pt.is_integer(kind):
        target = pa.int64()
    elif pt.is_floating(kind) or pt.is_decimal(kind):
        target = pa.float64()
    elif pt.is_timestamp(kind) or pt.is_date(kind):
        target = pa.timestamp("us")
    elif pt.is_boolean(kind) or pt.is_null(kind):
        target = kind
    else:
        raise CorpusError(
            f"column {name!r} of {source} holds values of type {kind}, which are neither numbers "
            "nor text nor dates; exclude it"
        )
    array = column.cast(target, safe=False).combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # older pyarrow returns this where there are no chunks
        array = pa.concat_arrays(array.chunks) if array.chunks else pa.array([], target)
    if pt.is_floating(target):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, target), array)
    return array


def facts_of(array: pa.Array, stored: pa.DataType) -> Facts:
    """Describe a column as returned by `plain`.

    Parameters
    ----------
    array : pyarrow.Array
        The column.
    stored : pyarrow.DataType
        The type it has in the source.
    """
    missing = _first(pc.is_null(array)) if array.null_count else None
    if array.null_count == len(array):  # the type says nothing: pandas writes NaN as a number
        return Facts("null", missing)
    if pt.is_floating(array.type):
        kind = stored.value_type if pt.is_dictionary(stored) else stored
        # What the source holds as floating numbers loses nothing by being read as such.
        lossy = None if pt.is_floating(kind) else _first(_beyond(array))
        return Facts("float64", missing, _first(pc.is_inf(array)), lossy, floating=True)
    if pt.is_integer(array.type):
        return Facts("int64", missing, None, _first(_beyond(array)))
    found: Found = "datetime"
    if pt.is_boolean(array.type):
        found = "bool"
    elif pt.is_large_string(array.type):
        found = "str"
    return Facts(found, missing)


def facts_of_text(array: pa.Array, classes: bool) -> Facts:
    """Describe a column of spelled-out values: numbers if all of them are.

    Parameters
    ----------
    array : pyarrow.Array
        The column.
    classes : bool
        Whether its numbers stand for classes; `first_lossy` is found only then, since it takes
        longer than all the rest.
    """
    missing = _first(pc.is_null(array)) if array.null_count else None
    if array.null_count == len(array):
        return Facts("null", missing)
    trimmed = pc.utf8_trim_whitespace(array)
    try:
        values = pc.cast(trimmed, pa.float64())
    except pa.ArrowInvalid:
        return Facts("str", missing)
    nan = _first(pc.is_nan(values))
    missing = nan if missing is None or (nan is not None and nan < missing) else missing
    lossy = None
    if classes:
        large = pc.and_(_beyond(values), pc.match_substring_regex(trimmed, SPELLED_WHOLE))
        lossy = _first(pc.or_(large, pc.match_substring_regex(trimmed, LEADING_ZERO)))
    if pc.all(pc.match_substring_regex(array, WHOLE)).as_py():
        return Facts("int64", missing, None, lossy)
    return Facts("float64", missing, _first(pc.is_inf(values)), lossy)


def scan_table(
    table: pa.Table, source: str, known_as: Sequence[str] = (), *, start: int = 0
) -> Scan:
    """Describe and hash a table by its values.

    The hash does not depend on how the table was compressed, sliced or encoded.

    Parameters
    ----------
    table : pyarrow.Table
        The columns to be used.
    source : str
        Where it lies, for messages.
    known_as : sequence of str
        What else belongs to the identity of the content.
    start : int
        Number of the first row in the corpus, for messages.

    Raises
    ------
    CorpusError
        If a column holds what cannot be used, or text that is not Unicode.
    """
    digest = hashlib.sha256(repr(list(known_as)).encode())
    facts = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = plain(column, name, source)
        _check_text(array, name, source, start)
        facts[name] = facts_of(array, column.type)
        digest.update(repr((name, str(array.type), len(array))).encode())
        _hash_values(digest, array)
    return Scan(table.num_rows, digest.hexdigest(), facts)


def frame_of(
    table: pa.Table, dtypes: Mapping[str, str], source: str, *, textual: bool = False
) -> pd.DataFrame:
    """Turn a table into a data frame with the given dtypes."""
    columns = {}
    for name, dtype in dtypes.items():
        array = plain(table.column(name), name, source)
        columns[name] = _series(array, dtype, textual)
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def _series(array: pa.Array, dtype: str, textual: bool) -> pd.Series:
    if dtype == "str":
        return pd.Series(_texts(array), dtype="str")
    if array.null_count == len(array):  # of any type, and not all can be cast to all others
        array = pa.nulls(len(array))
    if dtype.startswith("datetime64"):
        return pd.Series(array.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False), dtype=dtype)
    if textual and pt.is_large_string(array.type):
        array = array.cast(pa.int64()) if dtype == "int64" else _parsed(array)
    target = pa.int64() if dtype == "int64" else pa.float64()
    return pd.Series(array.cast(target, safe=False).to_numpy(zero_copy_only=False), dtype=dtype)


def _check_text(array: pa.Array, name: str, source: str, start: int) -> None:
    """Raise `CorpusError` if text is not UTF-8: Parquet files may claim it of any bytes."""
    if not pt.is_large_string(array.type):
        return
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        values = enumerate(array.cast(pa.large_binary()).to_pylist())
        row = next((i for i, value in values if not is_unicode(value or b"")), 0)
        raise not_unicode(name, source, start + row) from error


def _texts(array: pa.Array) -> Any:
    if pt.is_large_string(array.type):
        return array.to_numpy(zero_copy_only=False)
    # As Python spells them, in every partition alike: True, 1, 1.5.
    return [None if value is None else str(value) for value in array.to_pylist()]


def _parsed(array: pa.Array) -> pa.Array:
    return pc.cast(pc.utf8_trim_whitespace(array), pa.float64())


def _beyond(values: pa.Array) -> pa.Array:
    # Not by the absolute value, which the least int64 does not have.
    return pc.or_(pc.greater_equal(values, EXACT), pc.less_equal(values, -EXACT))


def _first(mask: pa.Array) -> int | None:
    index = pc.index(mask, value=True).as_py()
    return None if index < 0 else int(index)


def _hash_values(digest: Any, array: pa.Array) -> None:
    # Nulls are hashed as a mask and a fixed filler, since what lies under them is arbitrary.
    digest.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pt.is_null(array.type):
        return
    if pt.is_large_string(array.type):
        filled = pc.fill_null(array, "")
        lengths = pc.binary_length(filled).to_numpy(zero_copy_only=False)
        digest.update(lengths.astype("<i8").tobytes())
        if len(filled):
            _, offsets, content = filled.buffers()
            ends = np.frombuffer(offsets, np.int64)[filled.offset :][: len(filled) + 1]
            digest.update(memoryview(content or b"")[ends[0] : ends[-1]])
        return
    if pt.is_boolean(array.type):
        digest.update(pc.fill_null(array, False).to_numpy(zero_copy_only=False).tobytes())
        return
    if pt.is_floating(array.type):
        # Adding 0 makes -0 and 0 the same, as they are to everything downstream.
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False) + 0.0
        digest.update(values.astype("<f8").tobytes())
        return
    integers = array.cast(pa.int64())
    digest.update(pc.fill_null(integers, 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())


def row_message(error: pa.ArrowInvalid, start: int) -> str:
    """Rewrite "CSV parse error: Row #3: ..." with the row's number in the corpus, from 0."""
    message = str(error).splitlines()[0]
    found = re.search(r"Row #(\d+): (.*)", message)
    if found is None:
        return message[:200]
    return f"row {start + int(found[1]) - 1}: {found[2][:160]}"
