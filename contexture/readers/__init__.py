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

# The Prefect form tells by the names of its fields which kind a configuration is, and takes the
# first that fits: a kind stands behind those whose fields are a part of its own.
AnyReader = Annotated[
    Parquet | Jsonl | Csv | Arrays | Packaged | OpenML, Field(discriminator="reader")
]

READERS: tuple[type[Reader], ...] = (Parquet, Jsonl, Csv, Arrays, Packaged, OpenML)

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
