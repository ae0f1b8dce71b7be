"""What all readers share: the roles of the columns, and where a relative path starts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from contexture.corpus import Corpus
from contexture.paths import resolve_path

BLOCKSIZE = 64 * 2**20
"""Bytes in a partition, about; small enough for several to lie in a worker's memory."""

Name = Annotated[str, Field(min_length=1)]


class Reader(BaseModel, ABC):
    """A description of a raw source; `open` makes it a `Corpus`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[Name, ...] = Field(
        default=(),
        title="Targets",
        description="Columns to be predicted; they never become features.",
        json_schema_extra={"position": 20},
    )
    id: Name | None = Field(
        default=None,
        title="Id column",
        description="The column that names the rows; row numbers if empty.",
        json_schema_extra={"position": 21},
    )
    weights: Name | None = Field(
        default=None,
        title="Weights column",
        description="The column that weighs the rows (positive); all equal if empty.",
        json_schema_extra={"position": 22},
    )
    include: tuple[Name, ...] | None = Field(
        default=None,
        title="Only these features",
        description="The feature columns; all that have no other role if empty.",
        json_schema_extra={"position": 23},
    )
    exclude: tuple[Name, ...] = Field(
        default=(),
        title="Not these features",
        description="Columns that are left out.",
        json_schema_extra={"position": 24},
    )
    categorical: tuple[Name, ...] = Field(
        default=(),
        title="Categorical columns",
        description="Columns of numbers or dates that stand for classes, not quantities.",
        json_schema_extra={"position": 25},
    )

    def resolved(self, base: Path) -> Self:
        """Return a copy whose path, if it is relative, starts at `base`.

        Parameters
        ----------
        base : Path
            The folder of the configuration file.
        """
        path = getattr(self, "path", None)
        return self if path is None else self.model_copy(update={"path": resolve_path(path, base)})

    @abstractmethod
    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Scan the source once, and describe it as a corpus.

        Parameters
        ----------
        blocksize : int
            Bytes in a partition, about.

        Returns
        -------
        Corpus
            Lazy: no rows are kept.

        Raises
        ------
        CorpusError
            If the source cannot be read, or its columns cannot take their roles.
        """


class FileReader(Reader):
    """A reader of something that has a path."""

    path: str = Field(
        min_length=1,
        title="Path",
        description="A file or URL; a relative path starts at the configuration file.",
        json_schema_extra={"position": 1},
    )
