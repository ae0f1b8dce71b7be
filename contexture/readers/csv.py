"""Comma-separated values, read by ranges of bytes."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from pydantic import BeforeValidator, ConfigDict, Field

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.partition import Block
from contexture.readers.assemble import assemble
from contexture.readers.base import BLOCKSIZE, FileReader
from contexture.readers.byte_ranges import (
    LONGEST,
    ByteRange,
    check_text,
    csv_record_ends,
    cut,
    unclosed,
)
from contexture.readers.failures import reading
from contexture.readers.roles import feature_columns, used
from contexture.readers.scan import Scan
from contexture.readers.tables import facts_of_text, frame_of, row_message

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?")

# A form cannot hold a tab, so its usual spelling is understood.
Delimiter = Annotated[
    str,
    BeforeValidator(lambda value: "\t" if value == "\\t" else value),
    Field(min_length=1, max_length=1, pattern=r"^[\x00-\x7f]$"),
]


class Csv(FileReader):
    """A CSV file with a header line."""

    model_config = ConfigDict(title="CSV file")

    reader: Literal["csv"] = Field(default="csv", title="Kind", json_schema_extra={"position": 0})
    delimiter: Delimiter = Field(
        default=",",
        title="Delimiter",
        description=r"The character between two values; \t for a tab.",
        json_schema_extra={"position": 2},
    )
    missing: tuple[str, ...] = Field(
        default=MISSING,
        title="Missing values",
        description="How a missing value is spelled.",
        json_schema_extra={"position": 3},
    )
    names: tuple[str, ...] | None = Field(
        default=None,
        title="Column names",
        description="For a file without a header line; read from the first line if empty.",
        json_schema_extra={"position": 4},
    )

    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Scan the file once; see `Reader.open`."""
        check_text(self.path)
        start, names = (0, self.names) if self.names is not None else self._header()
        feature_columns(self, names, f"{self.path!r}")
        pieces = self._pieces(names, start, blocksize)
        return assemble(self, pieces, f"{self.path!r}", names=names, textual=True)

    def _header(self) -> tuple[int, tuple[str, ...]]:
        with reading(self.path), fsspec.open(self.path, "rb") as stream:
            head = more = stream.read(2**16)
            ends = csv_record_ends(head, self.delimiter)
            while ends is None and more and len(head) <= LONGEST:  # very many columns
                more = stream.read(len(head))
                head += more
                ends = csv_record_ends(head, self.delimiter)
            if ends is None and more:
                raise CorpusError(
                    f"cannot read {self.path!r}: the header is longer than {LONGEST} bytes; "
                    "is this a CSV file?"
                )
            stop = ends[0] if ends else len(head)
            text = head[:stop].decode("utf-8-sig")
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
            names = tuple(next(lines, []))
            # To this reader, a carriage return alone ends a record as well. Empty ones are harmless
            # (some files end their lines in two of them and a newline); others would be lost.
            if any(lines):
                raise CorpusError(
                    f"cannot read {self.path!r}: it has lines that end in a carriage return alone, "
                    "the header among them; save it with lines that end in a newline (\\n)"
                )
        return stop, names

    def _pieces(
        self, names: tuple[str, ...], start: int, blocksize: int
    ) -> Iterator[tuple[Block, Scan]]:
        wanted = self._wanted(names)
        rows = 0
        ends = partial(csv_record_ends, delimiter=self.delimiter)
        for where, data in cut(self.path, blocksize, ends, start):
            if data.count(b'"') and unclosed(data, self.delimiter):
                raise CorpusError(
                    f"cannot read {self.path!r}: a quote opened after row {rows} is never closed; "
                    "close it, or double it where it is part of a value"
                )
            block = CsvBlock(where, names, self.delimiter, self.missing)
            table = block.parse(data, wanted, rows)
            # What the bytes mean belongs to the content: names, delimiter, missing values.
            meaning = repr((names, self.delimiter, sorted(self.missing)))
            digest = hashlib.sha256((meaning + where.digest).encode()).hexdigest()
            facts = {
                name: facts_of_text(column.combine_chunks(), name in self.categorical)
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
            yield block, Scan(table.num_rows, digest, facts)
            rows += table.num_rows

    def _wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        features = feature_columns(self, names, f"{self.path!r}")
        return tuple(n for n in names if n in {*features, *used(self)})


@dataclass(frozen=True)
class CsvBlock:
    """Some whole records of a CSV file.

    Parameters
    ----------
    where : ByteRange
        The bytes, without the header.
    names : tuple of str
        All columns of the file.
    delimiter : str
        One character.
    missing : tuple of str
        How a missing value is spelled.
    """

    where: ByteRange
    names: tuple[str, ...]
    delimiter: str
    missing: tuple[str, ...]

    def frame(self, dtypes: Mapping[str, str]) -> pd.DataFrame:
        """Read the named columns, each in the dtype given for it."""
        table = self.parse(self.where.read(), tuple(dtypes), 0)
        return frame_of(table, dtypes, f"{self.where.path!r}", textual=True)

    def parse(self, data: bytes, wanted: tuple[str, ...], rows: int) -> pa.Table:
        """Split into columns of text; types are decided over the whole corpus.

        Parameters
        ----------
        data : bytes
            The content of `where`.
        wanted : tuple of str
            The columns to return.
        rows : int
            Number of the first row, for messages.
        """
        if not data.strip():
            return pa.table({name: pa.array([], pa.large_string()) for name in wanted})
        text = pa.large_string()
        with reading(self.where.path):
            try:
                return pa.csv.read_csv(
                    pa.BufferReader(data),
                    pa.csv.ReadOptions(
                        column_names=self.names, use_threads=False, block_size=len(data) + 1
                    ),
                    pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                    pa.csv.ConvertOptions(
                        include_columns=wanted,
                        column_types=dict.fromkeys(wanted, text),
                        null_values=self.missing,
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=True,
                    ),
                )
            except pa.ArrowInvalid as error:
                raise CorpusError(
                    f"cannot read {self.where.path!r}: {row_message(error, rows)}"
                ) from error
