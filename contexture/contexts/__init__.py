"""Contexts: the second variable A that a model could learn from.

Each kind is one file and one line here.
"""

from typing import Annotated, TypeAlias

from pydantic import Field

from contexture.contexts.base import ConditionalRows, Context
from contexture.contexts.counts import Counts
from contexture.contexts.graph import Graph
from contexture.contexts.knn import Knn
from contexture.contexts.masked import MaskedKnn, MaskedRbf
from contexture.contexts.rbf import Rbf
from contexture.inputs import Features

KINDS: tuple[type[Context], ...] = (Rbf, Knn, MaskedRbf, MaskedKnn, Graph, Counts)

AnyContext: TypeAlias = Annotated[
    Rbf | Knn | MaskedRbf | MaskedKnn | Graph | Counts, Field(discriminator="kind")
]

__all__ = [
    "KINDS",
    "AnyContext",
    "ConditionalRows",
    "Context",
    "Counts",
    "Features",
    "Graph",
    "Knn",
    "MaskedKnn",
    "MaskedRbf",
    "Rbf",
]
