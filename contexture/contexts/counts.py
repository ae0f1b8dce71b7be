"""The counts context: row-normalised counts of (x, a), with P_X from the row sums."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from scipy import sparse

from contexture.contexts.base import Context, Extent
from contexture.contexts.matrix import MatrixRows
from contexture.contexts.naming import in_order, numbered, places_of, rows_named
from contexture.contexts.tables import (
    file_fingerprint,
    name_from_path,
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
        pairs, values = 0, dict[str, int]()
        for piece in read_table(self.path, self._columns, self.label):
            numbered(piece[self.context], values)
            pairs += len(piece)
        return Extent(n, len(values), pairs, True, 10.0 * pairs / n)

    def fit(self, features: Features, seed: int = 0) -> MatrixRows:
        """Read the counts and match their inputs with the corpus."""
        del seed
        ids = features.names
        amounts, values, pairs = self._amounts(ids)
        return MatrixRows.from_amounts(amounts, ids, values, self.label, "count", {"pairs": pairs})

    def _amounts(self, ids: np.ndarray) -> tuple[sparse.csr_array, np.ndarray, int]:
        """Read a matrix of counts, what its columns stand for, and how many rows the table has."""
        places, known = places_of(ids), dict[str, int]()
        rows, columns, parts = [], [], []
        for piece in read_table(self.path, self._columns, self.label):
            rows += rows_named(piece, [self.input], places, self.path, self.label, "input")
            columns.append(numbered(piece[self.context], known))
            parts.append(read_amounts(piece[self.count], self.path, self.label, "count"))
        del places
        values, order = in_order(known)
        x, a, counts = np.concatenate(rows), order[np.concatenate(columns)], np.concatenate(parts)
        del rows, columns, parts
        amounts = sparse.csr_array((counts, (x, a)), shape=(len(ids), len(values)))
        return amounts, values, len(counts)
