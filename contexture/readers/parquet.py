"""Parquet: one file or a folder of them, read by row groups."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import fsspec
import pandas as pd
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.partition import Block
from contexture.readers.assemble import assemble
from contexture.readers.base import BLOCKSIZE, FileReader
from contexture.readers.failures import reading
from contexture.readers.roles import check_names, feature_columns, used
from contexture.readers.scan import Scan
from contexture.readers.tables import frame_of, scan_table

# pandas stores an unnamed index under such a name; it says where a row stood, not what it is.
INDEX = "__index_level_"

MARKS = ("etag", "md5hash", "contentmd5", "checksum", "crc32c", "mtime", "lastmodified", "updated")
"""What file systems know of the content of a file, the surest first; without - and _."""


class Parquet(FileReader):
    """A Parquet file, or a folder of Parquet files with the same columns."""

    model_config = ConfigDict(title="Parquet file or folder")

    reader: Literal["parquet"] = Field(
        default="parquet", title="Kind", json_schema_extra={"position": 0}
    )

    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Scan the files once; see `Reader.open`. Partitions are the row groups."""
        files = self._files()
        names = self._names(files[0])
        self._check_same(files, names)
        features = feature_columns(self, names, f"{files[0]!r}")
        wanted = tuple(name for name in names if name in {*features, *used(self)})
        return assemble(self, self._pieces(files, wanted), f"{self.path!r}", names=names)

    def _files(self) -> list[str]:
        with reading(self.path):
            system, root = fsspec.core.url_to_fs(self.path)
            if not system.exists(root):
                raise FileNotFoundError(self.path)
            if not system.isdir(root):
                return [self.path]
            found = sorted(system.find(root))
        prefix = "" if "://" not in self.path else self.path.split("://")[0] + "://"
        files = [
            name
            for name in found
            if name.endswith((".parquet", ".parq", ".pq"))
            and not any(part[0] in "._" for part in _below(root, name) if part)
        ]
        if not files:
            raise CorpusError(
                f"cannot read {self.path!r}: the folder holds no file that ends in .parquet"
            )
        keyed = next((f for f in files if any("=" in part for part in _below(root, f)[:-1])), None)
        if keyed is not None:
            raise CorpusError(
                f"cannot read {self.path!r}: the folder of {keyed!r} is named like a column "
                "(key=value), and such columns are not read; write the table without partition "
                "columns"
            )
        return [prefix + name for name in files]

    def _names(self, file: str) -> tuple[str, ...]:
        with reading(file), fsspec.open(file, "rb") as stream:
            names = pq.ParquetFile(stream).schema_arrow.names
        names = [name for name in names if not name.startswith(INDEX)]
        check_names(names, f"{file!r}")
        return tuple(names)

    def _check_same(self, files: list[str], names: tuple[str, ...]) -> None:
        for file in files[1:]:
            odd = sorted(set(self._names(file)) ^ set(names))
            if odd:
                has, lacks = (files[0], file) if odd[0] in names else (file, files[0])
                raise CorpusError(
                    f"cannot read {self.path!r}: {has!r} has a column {odd[0]!r} and {lacks!r} "
                    "has none; all files of a folder need the same columns"
                )

    def _pieces(self, files: list[str], wanted: tuple[str, ...]) -> Iterator[tuple[Block, Scan]]:
        rows = 0
        for file in files:
            mark = _mark(file)  # before the content is read: a later change must not go unnoticed
            with reading(file), fsspec.open(file, "rb") as stream:
                size = _size(stream)
                groups = pq.ParquetFile(stream)
                for group in range(groups.num_row_groups):
                    table = groups.read_row_group(group, columns=list(wanted))
                    scan = scan_table(table.select(wanted), f"{file!r}", start=rows)
                    block = ParquetBlock(file, group, size, mark, wanted, scan.fingerprint)
                    yield block, scan
                    rows += scan.rows


@dataclass(frozen=True)
class ParquetBlock:
    """One row group.

    Parameters
    ----------
    path : str
        File or URL.
    group : int
        Number of the row group in the file.
    size : int
        Bytes of the file when it was scanned.
    mark : str
        What the file system said of its content then: a checksum, or else the time of the last
        change; empty if neither.
    columns : tuple of str
        The columns that were scanned.
    fingerprint : str
        SHA-256 of their values in hex.
    """

    path: str
    group: int
    size: int
    mark: str
    columns: tuple[str, ...]
    fingerprint: str

    def frame(self, dtypes: Mapping[str, str]) -> pd.DataFrame:
        """Read the named columns, each in the dtype given for it."""
        with reading(self.path), fsspec.open(self.path, "rb") as stream:
            # A file that was only touched, or copied from elsewhere, has another mark.
            if _size(stream) != self.size or (
                _mark(self.path) != self.mark and self._content(stream) != self.fingerprint
            ):
                raise CorpusError(f"{self.path!r} changed while it was being read; open it again")
            table = pq.ParquetFile(stream).read_row_group(self.group, columns=list(dtypes))
            return frame_of(table, dtypes, f"{self.path!r}")

    def _content(self, stream: Any) -> str:
        table = pq.ParquetFile(stream).read_row_group(self.group, columns=list(self.columns))
        return scan_table(table.select(self.columns), f"{self.path!r}").fingerprint


def _size(stream: Any) -> int:
    size = int(stream.seek(0, io.SEEK_END))
    stream.seek(0)
    return size


def _mark(path: str) -> str:
    with reading(path):
        system, root = fsspec.core.url_to_fs(path)
        system.invalidate_cache(root)  # a listing from before a change does not tell of it
        found = system.info(root)
    known = {re.sub("[-_]", "", name).lower(): value for name, value in found.items()}
    return next((f"{name} {known[name]}" for name in MARKS if known.get(name)), "")


def _below(root: str, name: str) -> list[str]:
    return name[len(root) :].strip("/").split("/")
