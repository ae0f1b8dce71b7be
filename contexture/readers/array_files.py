"""Arrays in files, read by rows: NumPy's npy and npz, and Zarr."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal

import fsspec
import numpy as np
import zarr

from contexture.errors import CorpusError
from contexture.readers.failures import reading

Array = np.ndarray[Any, Any]

CHECKED_AT_A_TIME = 2**20
"""Bytes."""


@dataclass(frozen=True)
class ArrayFile:
    """One array in a file.

    Parameters
    ----------
    path : str
        File, folder or URL.
    kind : {"npy", "npz", "zarr"}
        Its format.
    key : str
        Name of the array in the file; empty if there is but one.
    """

    path: str
    kind: Literal["npy", "npz", "zarr"]
    key: str = ""

    def head(self) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        """Return shape, dtype and the number of rows that are stored together.

        Raises
        ------
        CorpusError
            If the array is not there, or holds Python objects.
        """
        if self.kind == "zarr":
            with reading(self.path):
                array = self._zarr()
                together = array.shards or array.chunks
                return array.shape, np.dtype(array.dtype), together[0] if together else 1
        with self._stream() as stream:
            shape, _, dtype = _npy_head(stream, self.path)
            return shape, dtype, 1

    def rows(self, start: int, stop: int) -> Array:
        """Read the rows from `start` to `stop`."""
        if self.kind == "zarr":
            with reading(self.path):
                return np.asarray(self._zarr()[start:stop])
        with self._stream() as stream:
            shape, by_columns, dtype = _npy_head(stream, self.path)
            if not shape or stop > shape[0]:
                raise CorpusError(f"{self.path!r} changed while it was being read; open it again")
            if by_columns:
                return _rows_of_columns(stream, shape, dtype, start, stop, self.path)
            width = math.prod(shape[1:])
            stream.seek(start * width * dtype.itemsize, io.SEEK_CUR)
            data = _exactly(stream, dtype, (stop - start) * width, self.path)
            return np.frombuffer(data, dtype).reshape(stop - start, *shape[1:])

    def check(self) -> None:
        """Compare an array of an npz file with its checksum, where `rows` passes it by.

        Raises
        ------
        CorpusError
            If it is damaged.
        """
        if self.kind != "npz":
            return  # npy has none, and Zarr has its own
        with self._archive() as (_, info, member):
            if info.compress_type != zipfile.ZIP_STORED:
                return  # compared where the last row is read
            shape, _, dtype = _npy_head(member, self.path)
            left = math.prod(shape) * dtype.itemsize
            while data := member.read(CHECKED_AT_A_TIME):  # raises at the end
                left -= len(data)
            if left > 0:
                raise _too_short(self.path)

    def _zarr(self) -> zarr.Array[Any]:
        found = zarr.open(self.path, mode="r")
        if self.key:
            found = found[self.key] if isinstance(found, zarr.Group) else found
        if not isinstance(found, zarr.Array):
            raise CorpusError(f"cannot read {self.path!r}: {self.key!r} is a group, not an array")
        _check_codecs(found, self.path)
        return found

    @contextmanager
    def _stream(self) -> Iterator[IO[bytes]]:
        if self.kind == "npy":
            with reading(self.path), fsspec.open(self.path, "rb") as stream:
                yield stream
            return
        with self._archive() as (stream, info, member):
            if info.compress_type != zipfile.ZIP_STORED:
                yield member
                return
            # Python before 3.13 reads all that lies before a place in a member to get there.
            stream.seek(_content_start(stream, info))
            yield stream

    @contextmanager
    def _archive(self) -> Iterator[tuple[IO[bytes], zipfile.ZipInfo, IO[bytes]]]:
        """Open an npz file: the file, and the entry and content of the array in it."""
        with (
            reading(self.path),
            fsspec.open(self.path, "rb") as stream,
            zipfile.ZipFile(stream) as archive,
            archive.open(self.key + ".npy") as member,
        ):
            yield stream, archive.getinfo(self.key + ".npy"), member


def keys(path: str, kind: str) -> tuple[str, ...]:
    """Return the names of the arrays in a file, sorted; only the empty one if it is an array."""
    with reading(path):
        if kind == "npy":
            return ("",)
        if kind == "npz":
            with fsspec.open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
                members = sorted(archive.namelist())
                return tuple(name[:-4] for name in members if name.endswith(".npy"))
        found = zarr.open(path, mode="r")
        return ("",) if isinstance(found, zarr.Array) else tuple(sorted(found.array_keys()))


def kind_of(path: str) -> Literal["npy", "npz", "zarr"]:
    """Tell the format by the name; whatever is neither npy nor npz is taken for Zarr."""
    if path.endswith(".npy"):
        return "npy"
    return "npz" if path.endswith(".npz") else "zarr"


def check_exists(path: str) -> None:
    """Raise `CorpusError` if there is nothing at `path`."""
    with reading(path):
        system, root = fsspec.core.url_to_fs(path)
        if not system.exists(root):
            raise FileNotFoundError(path)


def _check_codecs(array: zarr.Array[Any], path: str) -> None:
    """Refuse Zarr arrays whose chunks are pickles, since reading those could run code."""
    metadata: Any = array.metadata
    codecs = [*(getattr(metadata, "filters", None) or ()), getattr(metadata, "compressor", None)]
    codecs += getattr(metadata, "codecs", ())
    for codec in codecs:
        name = str(getattr(codec, "codec_id", type(codec).__name__))
        if "pickle" in name.lower():
            raise CorpusError(
                f"cannot read {path!r}: it holds pickled Python objects, and reading them could "
                "run code; save the array as numbers or text"
            )


def _npy_head(stream: IO[bytes], path: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise CorpusError(
            f"cannot read {path!r}: NumPy's format {version[0]}.{version[1]} is for structured "
            "arrays; save a plain array"
        )
    shape, by_columns, dtype = read[version](stream)
    if dtype.hasobject:
        raise CorpusError(
            f"cannot read {path!r}: it holds Python objects, and reading them could run code; "
            "save the array as numbers or text"
        )
    return shape, by_columns, dtype


def _content_start(stream: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where the content of a member begins: after a header whose last two fields vary in length."""
    stream.seek(info.header_offset + 26)
    name, extra = (int.from_bytes(stream.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name + extra


def _rows_of_columns(
    stream: IO[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    start: int,
    stop: int,
    path: str,
) -> Array:
    """Read rows of an array that is stored column by column: a piece of each column."""
    content, pieces = stream.tell(), []
    for column in range(math.prod(shape[1:])):
        stream.seek(content + (column * shape[0] + start) * dtype.itemsize)
        pieces.append(_exactly(stream, dtype, stop - start, path))
    flat = np.frombuffer(b"".join(pieces), dtype)
    return np.ascontiguousarray(flat.reshape((stop - start, *shape[1:]), order="F"))


def _exactly(stream: IO[bytes], dtype: np.dtype[Any], count: int, path: str) -> bytes:
    size = count * dtype.itemsize
    data = stream.read(size)
    if len(data) != size:
        raise _too_short(path)
    return data


def _too_short(path: str) -> CorpusError:
    return CorpusError(f"cannot read {path!r}: the file ends too early; copy it again")
