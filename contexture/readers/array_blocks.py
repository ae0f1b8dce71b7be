"""Some rows of arrays: hashed and described once, and compared whenever they are read again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from contexture.errors import CorpusError
from contexture.readers.array_files import Array, ArrayFile
from contexture.readers.failures import reading
from contexture.readers.scan import EXACT, Facts, Scan
from contexture.readers.text import is_unicode, not_unicode

MATRIX = ""
"""Stands for the matrix where the vectors stand by name; no column is called so."""

TEXT = "TUO"
"""Kinds of dtype that hold text."""


@dataclass(frozen=True)
class ArrayBlock:
    """Some rows of a matrix and of the vectors beside it.

    Parameters
    ----------
    matrix : ArrayFile
        Of shape (rows, columns), or (rows,) for one column.
    columns : tuple of str
        Their names.
    vectors : tuple of (str, ArrayFile)
        Of shape (rows,).
    start, stop : int
        First row, and the one after the last.
    digests : tuple of (str, str)
        SHA-256 of these rows as they were scanned, of `MATRIX` and each of the vectors.
    """

    matrix: ArrayFile
    columns: tuple[str, ...]
    vectors: tuple[tuple[str, ArrayFile], ...]
    start: int
    stop: int
    digests: tuple[tuple[str, str], ...] = ()

    def scan(self) -> tuple[ArrayBlock, Scan]:
        """Describe and hash the rows by their values; the block returned notices later changes."""
        read = {name: _read(file, self.start, self.stop) for name, file in self._files.items()}
        arrays = self._arrays({name: rows for name, (rows, _) in read.items()})
        digest = hashlib.sha256()
        for name, array in arrays.items():
            digest.update(repr((name, array.dtype.kind, array.shape)).encode())
            if array.dtype.kind in TEXT:
                digest.update(self._text(name, array))
            else:
                # One width and byte order for all, so that where it was written does not matter.
                wide = {"f": "<f8", "i": "<i8", "u": "<u8", "b": "?", "M": "<M8[us]"}
                digest.update(array.astype(wide[array.dtype.kind]).tobytes())
        facts = {name: _facts(array) for name, array in arrays.items()}
        digests = tuple((name, known) for name, (_, known) in read.items())
        scan = Scan(self.stop - self.start, digest.hexdigest(), facts)
        return replace(self, digests=digests), scan

    def frame(self, dtypes: Mapping[str, str]) -> pd.DataFrame:
        """Read the named columns, each in the dtype given for it."""
        # Matrix and vectors are compared each by itself, so that whatever is read has been checked.
        known = dict(self.digests)
        read: dict[str, Array] = {}
        for name, file in self._files.items():
            if name in dtypes or (name == MATRIX and not dtypes.keys().isdisjoint(self.columns)):
                read[name], digest = _read(file, self.start, self.stop)
                if digest != known[name]:
                    raise CorpusError(
                        f"{file.path!r} changed while it was being read; open it again"
                    )
        arrays = self._arrays(read)
        columns = {}
        for name, dtype in dtypes.items():
            values: Any = arrays[name]
            if dtype == "str":
                values = _texts(values)
            elif values.dtype.kind != "M":
                values = values.astype(dtype)  # pandas wants the machine's own byte order
            columns[name] = pd.Series(values, dtype=dtype)
        return pd.DataFrame(columns, index=pd.RangeIndex(self.stop - self.start))

    @property
    def _files(self) -> dict[str, ArrayFile]:
        return {MATRIX: self.matrix, **dict(self.vectors)}

    def _arrays(self, read: dict[str, Array]) -> dict[str, Array]:
        """Split what was read into columns."""
        arrays = {}
        if MATRIX in read:
            matrix = read[MATRIX].reshape(self.stop - self.start, -1)
            if matrix.dtype.kind == "b":  # a matrix of switches is a matrix of 0 and 1
                matrix = matrix.astype(np.int64)
            arrays = {name: matrix[:, j] for j, name in enumerate(self.columns)}
        for name, vector in self.vectors:
            if name in read:
                arrays[name] = _native(read[name], name, vector.path)
        return arrays

    def _text(self, name: str, array: Array) -> bytes:
        try:
            return "\0".join(map(str, array)).encode()
        except UnicodeEncodeError as error:
            row = next(i for i, value in enumerate(array) if not is_unicode(str(value)))
            raise not_unicode(name, f"{self.matrix.path!r}", self.start + row) from error


def _read(file: ArrayFile, start: int, stop: int) -> tuple[Array, str]:
    """Read rows, and hash them as they are stored."""
    with reading(file.path):
        rows = file.rows(start, stop)
        digest = hashlib.sha256(repr((rows.dtype.str, rows.shape)).encode())
        if rows.dtype.kind in TEXT:  # in memory this may be pointers
            digest.update(repr(rows.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        return rows, digest.hexdigest()


def _native(array: Array, name: str, path: str) -> Array:
    if array.dtype.kind not in "biufMTUO":
        raise CorpusError(
            f"{name!r} of {path!r} has dtype {array.dtype}; it must hold numbers, text or dates"
        )
    return array


def _texts(array: Array) -> list[str | None]:
    """Spell as Python does; dates to the microsecond, like the hash, in whatever unit they are."""
    values = array.astype("M8[us]").tolist() if array.dtype.kind == "M" else array
    return [None if value is None else str(value) for value in values]


def _facts(array: Array) -> Facts:
    kind: Any = {"b": "bool", "i": "int64", "u": "int64", "f": "float64", "M": "datetime"}.get(
        array.dtype.kind, "str"
    )
    if kind == "datetime":
        return Facts(kind, _first(np.isnat(array)))
    if kind == "float64":
        return Facts(kind, _first(np.isnan(array)), _first(np.isinf(array)), floating=True)
    if kind == "int64":
        lossy = _first((array >= EXACT) | (array <= -EXACT))
        if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
            kind = "float64"  # as in tables; int64 would make them negative
        return Facts(kind, first_lossy=lossy)
    return Facts(kind)


def _first(mask: Array) -> int | None:
    return int(np.argmax(mask)) if mask.any() else None
