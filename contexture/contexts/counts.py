"""The counts context: row-normalised counts of (x, a), with P_X from the row sums."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, model_validator
from scipy import sparse

from contexture.contexts.base import Context, Extent
from contexture.contexts.matrix import MatrixRows
from contexture.contexts.tables import (
    file_fingerprint,
    name_from_path,
    positions_of,
    read_amounts,
    read_table,
)
from contexture.inputs import Features
from contexture.paths import resolve_path


class Counts(Context):
    """Counts context: words with words, users with items, documents with terms."""

    model_config = ConfigDict(title="Counts")
    family: ClassVar[str] = "counts"

    kind: Literal["counts"] = "counts"
    path: str = Field(
        title="Counts table",
        description="CSV, TSV or Parquet file with one (input, context value, count) a row; "
        "inputs are ids of the corpus.",
        json_schema_extra={"position": 10},
    )
    input: str = Field(
        default="x",
        title="Input column",
        description="Column that names the row of the corpus.",
        json_schema_extra={"position": 20},
    )
    context: str = Field(
        default="a",
        title="Context column",
        description="Column that names the context value: an item, a term, a token.",
        json_schema_extra={"position": 30},
    )
    count: str = Field(
        default="count",
        title="Count column",
        description="Column of the counts, not negative. Repeated pairs add up.",
        json_schema_extra={"position": 40},
    )

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if len({self.input, self.context, self.count}) < 3:
            raise ValueError("input, context and count must be different columns")
        return self

    @property
    def default_name(self) -> str:
        """``counts-`` and the stem of the file."""
        return name_from_path("counts", self.path)

    def resolved(self, base: Path) -> Self:
        """Take a relative path of the table from ``base``."""
        return self.model_copy(update={"path": resolve_path(self.path, base)})

    def data_fingerprint(self) -> str:
        """Hash of the table."""
        return file_fingerprint(self.path, self.label)

    @property
    def _columns(self) -> list[str]:
        return [self.input, self.context, self.count]

    def extent(self, n: int, D: int) -> Extent:
        """Sparse, one entry a pair at most."""
        del D
        table = read_table(self.path, self._columns, self.label)
        values = int(table[self.context].nunique())
        return Extent(n, values, len(table), True, 10.0 * len(table) / n)

    def fit(self, features: Features, seed: int = 0) -> MatrixRows:
        """Read the counts and match their inputs with the corpus."""
        del seed
        table = read_table(self.path, self._columns, self.label)
        x = positions_of(table[self.input], features.names, self.path, self.label, "input")
        counts = read_amounts(table[self.count], self.path, self.label, "count")
        codes, values = pd.factorize(table[self.context].astype(str), sort=True)
        matrix = sparse.csr_array((counts, (x, codes)), shape=(features.shape[0], len(values)))
        return MatrixRows.from_amounts(
            matrix,
            features.names,
            np.asarray(values, dtype=object),
            self.label,
            "count",
            {"pairs": len(table)},
        )
