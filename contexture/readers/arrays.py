"""Arrays of numbers: a matrix, and beside it perhaps vectors of targets, ids or weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.partition import Block
from contexture.readers.array_blocks import ArrayBlock
from contexture.readers.array_files import ArrayFile, check_exists, keys, kind_of
from contexture.readers.assemble import assemble
from contexture.readers.base import BLOCKSIZE, FileReader, Name
from contexture.readers.roles import feature_columns, used
from contexture.readers.scan import Scan


class Arrays(FileReader):
    """A matrix in an npy or npz file or in Zarr.

    In an npz file or a Zarr group, one-dimensional arrays as long as the matrix may be named as
    targets, id or weights; all others are left alone.

    To reach rows in a compressed npz file, all before them are unpacked, for every partition anew,
    so that the time grows with the square of the size: save what is large as npy, by `numpy.savez`
    or in Zarr.
    """

    model_config = ConfigDict(title="NumPy or Zarr array")

    reader: Literal["arrays"] = Field(
        default="arrays", title="Kind", json_schema_extra={"position": 0}
    )
    key: Name | None = Field(
        default=None,
        title="Key of the matrix",
        description="Its name in an npz file or Zarr group; the only matrix there if empty.",
        json_schema_extra={"position": 2},
    )
    columns: tuple[Name, ...] | None = Field(
        default=None,
        title="Column names",
        description="Names of the matrix's columns; x0, x1, ... if empty.",
        json_schema_extra={"position": 3},
    )

    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Scan the array once; see `Reader.open`."""
        check_exists(self.path)
        matrix, vectors = self._matrix_and_vectors()
        shape, dtype, together = matrix.head()
        if dtype.kind not in "biuf":
            raise CorpusError(
                f"cannot read {self.path!r}: the matrix has dtype {dtype}, not numbers; "
                "save it as numbers, or use a table format for text"
            )
        columns = self._column_names(shape[1] if len(shape) == 2 else 1)
        extras = tuple((name, vectors[name]) for name in used(self) if name in vectors)
        names = (*columns, *(name for name, _ in extras))
        if vectors and self.targets:  # name the vectors too, should a name be wrong
            feature_columns(self, (*columns, *vectors), f"{self.path!r}")
        feature_columns(self, names, f"{self.path!r}")
        for name, vector in extras:
            if vector.head()[0] != (shape[0],):
                raise CorpusError(
                    f"cannot read {self.path!r}: {name!r} has shape {vector.head()[0]} beside "
                    f"{shape[0]} rows; it needs one value a row"
                )
        for file in (matrix, *(vector for _, vector in extras)):
            file.check()
        width = max(1, int(np.prod(shape[1:])) * dtype.itemsize)
        # Whole chunks, so that none is read twice; a fixed number, so that appending rows leaves
        # the earlier partitions as they are.
        step = max(1, blocksize // (width * together)) * together
        pieces = self._pieces(ArrayBlock(matrix, columns, extras, 0, 0), shape[0], step)
        return assemble(self, pieces, f"{self.path!r}", names=names, missing_allowed=False)

    def _matrix_and_vectors(self) -> tuple[ArrayFile, dict[str, ArrayFile]]:
        kind = kind_of(self.path)
        entries = {key: ArrayFile(self.path, kind, key) for key in keys(self.path, kind)}
        if set(entries) == {""}:
            entry = entries[""]
            if len(entry.head()[0]) not in (1, 2):
                raise self._not_a_matrix(entry)
            return entry, {}
        if self.key is not None and self.key not in entries:
            raise CorpusError(
                f"cannot read {self.path!r}: it has no array {self.key!r}; "
                f"its arrays are: {', '.join(entries)}"
            )
        # An entry that is not used may hold anything, even what cannot be read.
        chosen = [self.key] if self.key else [k for k in entries if _dimensions(entries[k]) == 2]
        if len(chosen) != 1:
            raise CorpusError(
                f"cannot read {self.path!r}: it has {len(chosen)} matrices among its arrays "
                f"({', '.join(entries)}); name one of them as the key"
            )
        entry = entries[chosen[0]]
        if len(entry.head()[0]) not in (1, 2):
            raise self._not_a_matrix(entry)
        return entry, {key: other for key, other in entries.items() if key != chosen[0]}

    def _not_a_matrix(self, entry: ArrayFile) -> CorpusError:
        return CorpusError(
            f"cannot read {self.path!r}: the array has shape {entry.head()[0]}; "
            "reshape it to (rows, columns)"
        )

    def _column_names(self, width: int) -> tuple[str, ...]:
        if self.columns is None:
            return tuple(f"x{j}" for j in range(width))
        if len(self.columns) != width:
            raise CorpusError(
                f"cannot read {self.path!r}: {len(self.columns)} column names were given for "
                f"{width} columns; give one for each"
            )
        return self.columns

    def _pieces(self, whole: ArrayBlock, rows: int, step: int) -> Iterator[tuple[Block, Scan]]:
        for start in range(0, rows, step):
            block = ArrayBlock(
                whole.matrix, whole.columns, whole.vectors, start, min(start + step, rows)
            )
            yield block.scan()


def _dimensions(entry: ArrayFile) -> int:
    try:
        return len(entry.head()[0])
    except CorpusError:
        return 0
