"""Readers: a raw source -> `Corpus`. A new one is one file, and one line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contexture.readers.arrays import Arrays
from contexture.readers.base import Reader
from contexture.readers.csv import Csv
from contexture.readers.jsonl import Jsonl
from contexture.readers.openml import OpenML
from contexture.readers.packaged import Packaged
from contexture.readers.parquet import Parquet

AnyReader = Annotated[
    Csv | Parquet | Jsonl | Arrays | Packaged | OpenML, Field(discriminator="reader")
]

READERS: tuple[type[Reader], ...] = (Csv, Parquet, Jsonl, Arrays, Packaged, OpenML)

__all__ = [
    "READERS",
    "AnyReader",
    "Arrays",
    "Csv",
    "Jsonl",
    "OpenML",
    "Packaged",
    "Parquet",
    "Reader",
]
