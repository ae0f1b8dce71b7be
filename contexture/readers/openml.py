"""Data sets of OpenML, fetched over the network and kept in OpenML's own cache."""

from __future__ import annotations

from typing import Any, Literal, Self

import pandas as pd
from pydantic import ConfigDict, Field, model_validator

from contexture.corpus import Corpus
from contexture.errors import CorpusError
from contexture.readers.base import BLOCKSIZE, Name, Reader
from contexture.readers.failures import reading, short
from contexture.readers.frames import corpus_of


class OpenML(Reader):
    """A data set of OpenML, by name or number."""

    model_config = ConfigDict(title="OpenML data set")

    reader: Literal["openml"] = Field(
        default="openml", title="Kind", json_schema_extra={"position": 0}
    )
    name: Name | None = Field(
        default=None,
        title="Name",
        description="Its name on OpenML; the oldest version that is still active is taken.",
        json_schema_extra={"position": 1},
    )
    number: int | None = Field(
        default=None,
        ge=1,
        title="Number",
        description="Its number on OpenML, which unlike a name never changes its meaning.",
        json_schema_extra={"position": 2},
    )
    targets: tuple[Name, ...] = Field(
        default=(),
        title="Targets",
        description="Columns to be predicted; those that OpenML declares if empty.",
        json_schema_extra={"position": 20},
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.name is None) == (self.number is None):
            raise ValueError("give either the name or the number of an OpenML data set")
        return self

    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Fetch the data set; see `Reader.open`."""
        wanted: Any = self.name if self.number is None else self.number
        try:
            import openml
        except ImportError as error:
            raise CorpusError(
                "reading from OpenML needs the package openml; "
                "install it with: pip install 'contexture[openml]'"
            ) from error
        try:
            dataset = openml.datasets.get_dataset(wanted, download_data=True)
        # Whatever the package or the network raises is the same to the caller: no data.
        except Exception as error:
            raise CorpusError(
                f"cannot fetch {wanted!r} from OpenML: {short(error)}; check the name or number "
                "and the network"
            ) from error
        # Not dataset.get_data(), which keeps pickles in its cache and loads them.
        if dataset.parquet_file is None:
            raise CorpusError(
                f"OpenML offers {wanted!r} only as ARFF, which is not read; convert it to Parquet "
                "and use the reader for that"
            )
        with reading(str(dataset.parquet_file)):
            frame = pd.read_parquet(dataset.parquet_file)
        return from_openml(
            frame, dataset.default_target_attribute, self, f"OpenML's {wanted}", blocksize
        )


def from_openml(
    frame: pd.DataFrame,
    declared: str | None,
    reader: OpenML,
    source: str,
    blocksize: int = BLOCKSIZE,
) -> Corpus:
    """Describe a data set that was fetched as a corpus.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows.
    declared : str, optional
        The targets that OpenML declares, with commas between them.
    reader : OpenML
        Says who plays which role.
    source : str
        For messages.
    blocksize : int
        Bytes in a partition, about.
    """
    if not reader.targets and declared:
        targets = tuple(name.strip() for name in declared.split(","))
        reader = reader.model_copy(update={"targets": targets})
    return corpus_of(frame, reader, source, blocksize)
