"""What a context is, and the evidence of P⁺(a|x) that fitting one gives.

A context is a frozen pydantic model: a description that is cheap, hashable, serialisable and
shown as a form by the Prefect UI. ``context.fit(features)`` turns it into evidence, from which
an estimator computes a spectrum. This module holds the form of evidence called *conditional
rows*: the law P⁺(a|x) is known row by row.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.sparse import csr_array

from contexture.inputs import Features, FloatArray

Rows: TypeAlias = csr_array | FloatArray

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


@runtime_checkable
class ConditionalRows(Protocol):
    """Evidence in its strongest form: P⁺(a|x), row by row.

    Attributes
    ----------
    shape : (n, m)
        Inputs and context values.
    sparse : bool
        Whether ``rows`` gives CSR blocks.
    input_weights : ndarray of shape (n,)
        P_X; a graph and counts bring their own (theory.md §2), the others take the corpus's.
    context_values : ndarray of shape (m,)
        What the columns stand for: ids of reference rows, nodes, tokens.
    details : mapping
        What fitting found (a scaled γ, a number of edges), kept with the operator.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        ...

    @property
    def sparse(self) -> bool:
        """Whether ``rows`` gives CSR blocks."""
        ...

    @property
    def input_weights(self) -> FloatArray:
        """P_X, shape (n,)."""
        ...

    @property
    def context_values(self) -> npt.NDArray[Any]:
        """What the columns stand for, shape (m,)."""
        ...

    @property
    def details(self) -> Mapping[str, Any]:
        """What fitting found."""
        ...

    def rows(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` of P, each adding up to 1; CSR or dense, shape (r, m)."""
        ...

    def entries(self, start: int, stop: int) -> int:
        """Upper bound on the entries stored for these rows, known before they are computed."""
        ...


class EqualWeightsKept:
    """Mixin of evidence that goes to other processes: equal weights stay one number there.

    NumPy writes out an array that is one number for all rows; a worker would hold 8 bytes a row,
    and could not tell that all are equal.
    """

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        weights = state["input_weights"]
        if len(weights) and weights.strides == (0,):
            state["input_weights"] = float(weights[0]), len(weights)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state["input_weights"]
        if isinstance(weights, tuple):
            value, n = weights
            state = state | {"input_weights": np.broadcast_to(value, (n,))}
        self.__dict__.update(state)


@dataclass(frozen=True)
class Extent:
    """How large the operator of a context is, known before anything is computed.

    Attributes
    ----------
    rows, columns : int
        n and m.
    nonzeros : int
        Upper bound on the stored entries of P.
    sparse : bool
        Whether P is held as CSR.
    row_work : float
        Floating-point operations that one row of P costs, roughly.
    """

    rows: int
    columns: int
    nonzeros: int
    sparse: bool
    row_work: float


class Context(BaseModel, ABC):
    """Base of all contexts: a description of P⁺(a|x), with no data in it.

    ``name`` is what a run calls the context; it does not change what is computed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: ClassVar[str]
    version: ClassVar[int] = 1
    """Of what is computed: another number means other numbers of operators."""

    kind: str
    name: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        title="Name",
        description="What the results call this context; by default its kind and what tells it "
        "from others, such as knn-30 or graph-edges.",
        json_schema_extra={"position": 90},
    )

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str | None) -> str | None:
        if name == "zarr.json":
            raise ValueError("Zarr keeps its own metadata under this name; choose another")
        return name

    @property
    @abstractmethod
    def default_name(self) -> str:
        """The kind and the parameters that tell it from its siblings."""

    @property
    def label(self) -> str:
        """The name given, or the default one."""
        return self.name or self.default_name

    @abstractmethod
    def extent(self, n: int, D: int) -> Extent:
        """Size of the operator on n rows of D features.

        Raises
        ------
        ContextError
            If the parameters do not fit that many rows or features.
        """

    @abstractmethod
    def fit(self, features: Features, seed: int = 0) -> ConditionalRows:
        """Turn the description into rows of P⁺(a|x).

        Parameters
        ----------
        features : Features
            The corpus as numbers.
        seed : int
            Seed of the run; draws of references and masks follow from it.

        Raises
        ------
        ContextError
            If the context does not fit the corpus.
        """

    def draws(self, n: int) -> bool:
        """Whether something is drawn by the seed on n rows, so that another gives other numbers."""
        del n
        return False

    def resolved(self, base: Path) -> Self:
        """Return the context with file paths taken relative to ``base``; most have none."""
        del base
        return self

    def data_fingerprint(self) -> str:
        """Fingerprint of data that the context itself brings (an edge list); empty if none."""
        return ""

    def decisive(self, n: int) -> dict[str, Any]:
        """Return what decides the numbers on n rows: neither names nor paths do."""
        del n
        return self.model_dump(mode="json", exclude={"name", "path"})

    def identity(self, features: Features, seed: int) -> str:
        """Key of the operator: equal only if the same numbers would come out.

        Names and paths are left out, the content of files is in. Different keys may belong to the
        same numbers: of a graph in which the same edges stand in another order, say.
        """
        parts = {
            "format": self.version,
            "context": self.decisive(features.shape[0]),
            "features": features.fingerprint,
            "seed": seed if self.draws(features.shape[0]) else None,
            "data": self.data_fingerprint(),
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{self.kind}-{digest[:16]}"
