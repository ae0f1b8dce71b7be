"""JSON lines: one object a line, read by ranges of bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.partition import Block
from contexture.readers.assemble import assemble
from contexture.readers.base import BLOCKSIZE, FileReader
from contexture.readers.byte_ranges import ByteRange, check_text, cut, line_ends
from contexture.readers.failures import reading
from contexture.readers.roles import used
from contexture.readers.scan import EXACT, Facts, Found, Scan, widest
from contexture.readers.text import is_unicode, not_unicode

FOUND: dict[type, Found] = {
    type(None): "null",
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "str",
}


class Jsonl(FileReader):
    """A file with one JSON object a line."""

    model_config = ConfigDict(title="JSON lines file")

    reader: Literal["jsonl"] = Field(
        default="jsonl", title="Kind", json_schema_extra={"position": 0}
    )

    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Scan the file once; see `Reader.open`."""
        check_text(self.path)
        return assemble(self, self._pieces(blocksize), f"{self.path!r}", textual=True)

    def _pieces(self, blocksize: int) -> Iterator[tuple[Block, Scan]]:
        rows = 0
        for where, data in cut(self.path, blocksize, line_ends):
            records = parse(data, self.path, rows)
            names = dict.fromkeys(name for record in records for name in record)
            facts = {name: self._facts(name, records, rows) for name in names}
            yield JsonlBlock(where, rows), Scan(len(records), where.digest, facts)
            rows += len(records)

    def _facts(self, name: str, records: list[dict[str, Any]], rows: int) -> Facts:
        chosen = self.include is None or name in self.include
        if name not in used(self) and (name in self.exclude or not chosen):
            return Facts("null")  # what is not used may hold anything
        found: Found = "null"
        missing = infinite = lossy = None
        floating = False
        for row, record in enumerate(records):
            value = record.get(name)
            kind = FOUND.get(type(value))
            if kind is None:
                raise CorpusError(
                    f"column {name!r} of {self.path!r} holds a {type(value).__name__} in row "
                    f"{rows + row}; only numbers, text, true, false and null can be used, "
                    "so exclude it"
                )
            if isinstance(value, str) and not is_unicode(value):
                raise not_unicode(name, f"{self.path!r}", rows + row)
            if value is None or value != value:
                missing = row if missing is None else missing
            elif kind in ("int64", "float64"):
                floating = floating or kind == "float64"
                if kind == "int64" and abs(value) >= EXACT:
                    lossy = row if lossy is None else lossy
                    kind = "float64" if abs(value) >= 2**63 else kind
                if infinite is None and math.isinf(_number(value)):
                    infinite = row
            found = widest(found, kind)
        return Facts(found, missing, infinite, lossy, floating)


@dataclass(frozen=True)
class JsonlBlock:
    """Some whole lines.

    Parameters
    ----------
    where : ByteRange
        The bytes.
    start : int
        Number of the first row, for messages.
    """

    where: ByteRange
    start: int

    def frame(self, dtypes: Mapping[str, str]) -> pd.DataFrame:
        """Read the named columns, each in the dtype given for it."""
        records = parse(self.where.read(), self.where.path, self.start)
        columns = {}
        for name, dtype in dtypes.items():
            values = [record.get(name) for record in records]
            if dtype == "str":
                # As Python spells them, in every partition alike: True, 1, 1.5.
                filled: list[Any] = [None if v is None or v != v else str(v) for v in values]
            elif dtype == "int64":
                filled = values
            else:
                filled = [math.nan if value is None else _number(value) for value in values]
            columns[name] = pd.Series(filled, dtype=dtype)
        return pd.DataFrame(columns, index=pd.RangeIndex(len(records)))


def parse(data: bytes, path: str, start: int) -> list[dict[str, Any]]:
    """Read one object a line; empty lines are skipped.

    Raises
    ------
    CorpusError
        If a line is not JSON, not an object, or names a column twice.
    """
    records: list[dict[str, Any]] = []
    with reading(path):
        text = data.decode("utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8")
    for line in text.split("\n"):  # not splitlines, which also splits at U+2028
        if not line.strip():
            continue
        row = start + len(records)
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except ValueError as error:
            raise CorpusError(f"cannot read {path!r}: row {row} is not JSON: {error}") from error
        except RecursionError as error:
            raise CorpusError(f"cannot read {path!r}: row {row} is nested too deeply") from error
        if not isinstance(record, dict):
            raise CorpusError(
                f"cannot read {path!r}: row {row} is a {type(record).__name__}; "
                'each line must be an object such as {"x": 1}'
            )
        records.append(record)
    return records


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two columns are named {double!r}")
    return record


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
