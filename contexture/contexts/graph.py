"""The graph context: P⁺(v|u) = w(u,v)/d(u), with P_X(u) = d(u)/Σd (paper, Section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, model_validator
from scipy import sparse

from contexture.contexts.base import Context, Extent
from contexture.contexts.matrix import MatrixRows
from contexture.contexts.naming import places_of, rows_named
from contexture.contexts.tables import (
    file_fingerprint,
    name_from_path,
    read_amounts,
    read_table,
)
from contexture.inputs import Features
from contexture.paths import resolve_path


class Graph(Context):
    """Graph context: a neighbour in a given graph is drawn in proportion to the edge's weight."""

    model_config = ConfigDict(title="Graph")
    family: ClassVar[str] = "graph"

    kind: Literal["graph"] = "graph"
    path: str = Field(
        title="Edge list",
        description="CSV, TSV or Parquet file with one edge a row; nodes are ids of the corpus.",
        json_schema_extra={"position": 10},
    )
    source: str = Field(
        default="source",
        title="Source column",
        description="Column of the first node.",
        json_schema_extra={"position": 20},
    )
    target: str = Field(
        default="target",
        title="Target column",
        description="Column of the second node.",
        json_schema_extra={"position": 30},
    )
    weight: str | None = Field(
        default=None,
        title="Weight column",
        description="Column of the edge weights, not negative. If left out, the column 'weight' "
        "where there is one; else every edge counts 1. Repeated edges add up.",
        json_schema_extra={"position": 40},
    )
    directed: bool = Field(
        default=False,
        title="Directed",
        description="Whether an edge leads only from source to target.",
        json_schema_extra={"position": 50},
    )

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        columns = [self.source, self.target, self.weight]
        if len(set(columns)) < 3:
            raise ValueError("source, target and weight must be different columns")
        return self

    @property
    def default_name(self) -> str:
        """``graph-`` and the stem of the file."""
        return name_from_path("graph", self.path)

    def resolved(self, base: Path) -> Self:
        """Take a relative path of the edge list from ``base``."""
        return self.model_copy(update={"path": resolve_path(self.path, base)})

    def data_fingerprint(self) -> str:
        """Hash of the edge list."""
        return file_fingerprint(self.path, self.label)

    def extent(self, n: int, D: int) -> Extent:
        """Sparse, n × n, at most two entries an edge."""
        del D
        edges = sum(map(len, self._table()))
        nonzeros = edges if self.directed else 2 * edges
        return Extent(n, n, nonzeros, True, 10.0 * nonzeros / n)

    def _table(self) -> Iterator[pd.DataFrame]:
        columns = [self.source, self.target] + ([self.weight] if self.weight else [])
        optional = [] if self.weight else ["weight"]  # unless it names the nodes
        return read_table(self.path, columns, self.label, optional)

    def fit(self, features: Features, seed: int = 0) -> MatrixRows:
        """Read the edges and match their nodes with the corpus."""
        del seed
        ids = features.names
        weights, edges, column = self._weights(ids)
        lack, remedy = self._empty(column)
        return MatrixRows.from_amounts(
            weights,
            ids,
            ids,
            self.label,
            "edge",
            {"edges": edges, "weights": column or "every edge counts 1"},
            lack,
            remedy,
        )

    def _weights(self, ids: np.ndarray) -> tuple[sparse.csr_array, int, str | None]:
        """Read a matrix of weights, how many edges the table has, and the column of the weights."""
        places, column = places_of(ids), None
        sources, targets, parts = [], [], []
        for piece in self._table():
            nodes = [self.source, self.target]
            u, v = rows_named(piece, nodes, places, self.path, self.label, "node")
            sources.append(u)
            targets.append(v)
            column = piece.columns[2] if piece.shape[1] > 2 else None
            if column is not None:
                parts.append(read_amounts(piece[column], self.path, self.label, "weight"))
        del places
        u, v = np.concatenate(sources), np.concatenate(targets)
        del sources, targets
        weights = np.concatenate(parts) if parts else np.ones(len(u))
        del parts
        edges, n = len(u), len(ids)
        if not self.directed:
            other = u != v  # a loop is one entry of the matrix, not two
            u, v = np.concatenate([u, v[other]]), np.concatenate([v, u[other]])
            weights = np.concatenate([weights, weights[other]])
        return sparse.csr_array((weights, (u, v)), shape=(n, n)), edges, column

    def _empty(self, column: str | None) -> tuple[str, str]:
        """Say what a row without a law has none of, and what to do about it."""
        if self.directed:
            # Without the edges that lead to it, others may be left without any.
            positive = "" if column is None else " of positive weight"
            return (
                f"edge{positive} that leads out of them",
                "leave them out of both the corpus and the edges, give each a loop, or set "
                "directed to false",
            )
        if column is None:
            return "edge", "give them one, or leave these rows out of the corpus"
        return (
            "edge",
            "give them one of positive weight, or leave these rows out of both the corpus and the "
            "edges",
        )
