"""What Dask workers run for operators: library functions, so that every worker can import them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import distributed

from contexture.contexts.base import ConditionalRows, Context
from contexture.contexts.knn import Knn
from contexture.contexts.masked import MaskedKnn
from contexture.inputs import Features
from contexture.store.base import Store
from contexture.store.features import read_features
from contexture.store.neighbours import (
    has_neighbours,
    neighbours_key,
    read_neighbours,
    write_neighbours,
)
from contexture.store.operators import write_block

PROGRESS_TOPIC = "contexture-progress"
"""Under which workers tell how far a long job is: (stage, done, total)."""

Searched: TypeAlias = str
"""Key of neighbours that were found before."""


def searched(context: Context, features: Features) -> bool:
    """Whether the context needs a search among all rows before any row of P is known."""
    return isinstance(context, Knn | MaskedKnn) and context.approximates(features.shape[0])


def find_neighbours(url: str, features_key: str, context: Context, seed: int) -> str:
    """Search the neighbours of all rows and write them, if they are not there; their key."""
    store = Store(url)
    features = read_features(store, features_key)
    key = neighbours_key(context, features, seed)
    if isinstance(context, Knn | MaskedKnn) and not has_neighbours(store, key):
        found = context.find_neighbours(features, seed)
        write_neighbours(store, key, found.positions, found.details)
    return key


def fit_context(
    url: str, features_key: str, context: Context, seed: int, found: Searched | None = None
) -> ConditionalRows:
    """Fit a context on the features in the store; lost with a worker, it is fitted again."""
    store = Store(url)
    features = read_features(store, features_key)
    if found is None or not isinstance(context, Knn | MaskedKnn):
        return context.fit(features, seed)
    positions, details = read_neighbours(store, found)
    return context.fit_found(features, positions, details, seed)


def telling(stage: str) -> Callable[[int, int], None] | None:
    """Give a way to tell the flow how far a job is; none outside of a Dask worker."""
    try:
        worker = distributed.get_worker()
    except ValueError:
        return None

    def tell(done: int, total: int) -> None:
        worker.log_event(PROGRESS_TOPIC, [stage, int(done), int(total)])

    return tell


def compute_block(url: str, operator_key: str, evidence: ConditionalRows, block: int) -> int:
    """Compute and write one block of an operator; returns its number."""
    return write_block(Store(url), operator_key, evidence, block)
