"""Cut a text file into ranges of bytes that hold whole records."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import fsspec
import numpy as np
from numpy.typing import NDArray

from contexture.errors import CorpusError
from contexture.readers.failures import reading

RecordEnds = tuple[int, int] | None
IntArray = NDArray[np.intp]

LONGEST = 16 * 2**20
"""A record longer than this is taken for a quote that is never closed."""

PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
WIDE = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class ByteRange:
    """Some whole records of a text file.

    Parameters
    ----------
    path : str
        File or URL.
    start, stop : int
        First byte, and the one after the last.
    digest : str
        SHA-256 of the bytes in hex.
    """

    path: str
    start: int
    stop: int
    digest: str

    def read(self) -> bytes:
        """Read the bytes.

        Raises
        ------
        CorpusError
            If the file is gone, or its bytes are not those that were scanned.
        """
        with reading(self.path), fsspec.open(self.path, "rb") as stream:
            stream.seek(self.start)
            data: bytes = stream.read(self.stop - self.start)
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise CorpusError(f"{self.path!r} changed while it was being read; open it again")
        return data


def cut(
    path: str, blocksize: int, record_ends: Callable[[bytes], RecordEnds], start: int = 0
) -> Iterator[tuple[ByteRange, bytes]]:
    """Yield consecutive ranges of about `blocksize` bytes with their content.

    Where a range ends depends on the bytes up to there only, so rows that are appended to the
    file change no range but the last.

    Parameters
    ----------
    path : str
        File or URL.
    blocksize : int
        Bytes in a range, at most, unless a record is longer.
    record_ends : callable
        Finds the first and the last end of a record in bytes that start with a record.
    start : int
        Where the records start.
    """
    if not 1 <= blocksize <= 2**30:
        raise CorpusError(f"blocksize is {blocksize}; it must be between 1 and 2**30 bytes")
    with reading(path), fsspec.open(path, "rb") as stream:
        stream.seek(start)
        held = stream.read(blocksize + 1)
        while len(held) > blocksize:
            ends = record_ends(held[:blocksize])
            end = ends[1] if ends else 0
            while not end:
                if len(held) > blocksize + LONGEST:
                    raise CorpusError(
                        f"cannot read {path!r}: the record at byte {start} is longer than "
                        f"{LONGEST} bytes; is a quote never closed?"
                    )
                more = stream.read(max(blocksize, 2**20))
                held += more
                ends = record_ends(held)
                end = ends[0] if ends else (0 if more else len(held))
            yield _range(path, start, held[:end]), held[:end]
            start, held = start + end, held[end:]
            held += stream.read(max(0, blocksize + 1 - len(held)))
        if held:
            yield _range(path, start, held), held


def line_ends(data: bytes) -> RecordEnds:
    """Find the first and the last end of a line."""
    return (data.find(b"\n") + 1, data.rfind(b"\n") + 1) if b"\n" in data else None


def csv_record_ends(data: bytes, delimiter: str) -> RecordEnds:
    """Find the first and the last end of a CSV record: line ends inside quotes do not count."""
    if b'"' not in data:
        return line_ends(data)
    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == ord('"'))
    ends = np.flatnonzero(array == ord("\n"))
    if _regular(array, quotes, ord(delimiter)):
        # Every other quote opens a field, so a line end counts after an even number of them.
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    else:
        ends = ends[~_inside(data, delimiter, ends)]
    return (int(ends[0]) + 1, int(ends[-1]) + 1) if ends.size else None


def unclosed(data: bytes, delimiter: str) -> bool:
    """Say whether the last quoted field is not closed."""
    ends = csv_record_ends(data, delimiter)
    if ends is not None and ends[1] == len(data):
        return False
    quoted = deque(re.finditer(_quoted(delimiter), data), maxlen=1)
    return bool(quoted) and not quoted[0][1]


def check_text(path: str) -> None:
    """Raise `CorpusError` if the file is missing, empty, compressed, or not in bytes of ASCII."""
    with reading(path), fsspec.open(path, "rb") as stream:
        head: bytes = stream.read(4)
    if not head:
        raise CorpusError(f"cannot read {path!r}: the file is empty")
    for mark, name in PACKED.items():
        if head.startswith(mark):
            raise CorpusError(
                f"cannot read {path!r}: it is compressed ({name}), so it has no byte ranges that "
                "could be read by themselves; unpack it first"
            )
    if head.startswith(WIDE):
        raise CorpusError(f"cannot read {path!r}: it is UTF-16 text; save it as UTF-8")


def _range(path: str, start: int, data: bytes) -> ByteRange:
    return ByteRange(path, start, start + len(data), hashlib.sha256(data).hexdigest())


def _regular(array: NDArray[np.uint8], quotes: IntArray, delimiter: int) -> bool:
    """Whether quotes stand only where fields start and end, or doubled; then parity is exact."""
    edges = np.array([delimiter, ord("\n"), ord("\r"), ord('"')], np.uint8)
    opening, closing = quotes[0::2], quotes[1::2]
    before = array[opening[opening > 0] - 1]
    after = array[closing[closing + 1 < len(array)] + 1]
    return bool(np.isin(before, edges).all() and np.isin(after, edges).all())


def _inside(data: bytes, delimiter: str, ends: IntArray) -> NDArray[np.bool_]:
    """Whether line ends are quoted, field by field: some quote stands in an unquoted field."""
    inside = np.zeros(len(ends), np.bool_)
    for field in re.finditer(_quoted(delimiter), data):
        stop = field.end() if field[1] else len(data)
        inside[np.searchsorted(ends, field.start()) : np.searchsorted(ends, stop)] = True
    return inside


def _quoted(delimiter: str) -> bytes:
    mark = re.escape(delimiter).encode()
    return rb"(?:\A|(?<=[\r\n" + mark + rb']))"[^"]*(?:""[^"]*)*("(?!")|\Z)'
