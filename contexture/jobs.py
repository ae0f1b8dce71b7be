"""What Dask workers run for operators: library functions, so that every worker can import them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import distributed
import numpy as np

from contexture.contexts.base import ConditionalRows, Context
from contexture.contexts.knn import Knn
from contexture.contexts.masked import MaskedKnn
from contexture.errors import ContextError
from contexture.inputs import Features
from contexture.order import Order, in_order
from contexture.store.base import Store
from contexture.store.features import read_features
from contexture.store.neighbours import (
    has_neighbours,
    neighbours_key,
    read_neighbours,
    write_neighbours,
)
from contexture.store.operators import write_block
from contexture.store.orders import read_order

PROGRESS_TOPIC = "contexture-progress"
"""Under which workers tell how far a long job is: (stage, done, total)."""

Searched: TypeAlias = str
"""Key of neighbours that were found before."""


def searched(context: Context, features: Features) -> bool:
    """Whether the context needs a search among all rows before any row of P is known."""
    return isinstance(context, Knn | MaskedKnn) and context.approximates(features.shape[0])


def find_neighbours(
    url: str, features_key: str, context: Context, seed: int, ordered: bool = False
) -> Searched:
    """Search the neighbours of all rows and write them, if they are not there; their key.

    Parameters
    ----------
    url, features_key : str
        Where things are in the store.
    context : Context
    seed : int
    ordered : bool
        Whether they are written in a local order.
    """
    store = Store(url)
    features = read_features(store, features_key)
    key, plain = (neighbours_key(context, features, seed, o) for o in (ordered, False))
    if not isinstance(context, Knn | MaskedKnn) or has_neighbours(store, key):
        return key
    details: Mapping[str, Any]
    if has_neighbours(store, plain):
        stored, details, _ = read_neighbours(store, plain)
        positions = np.asarray(stored[:])
    else:
        found = context.find_neighbours(features, seed)
        positions, details = found.positions, found.details
    order = None
    if ordered:
        order = Order.of_neighbours(positions, getattr(context, "n_masks", 1))
        positions = order.sorted(positions)
    write_neighbours(store, key, positions, details, order)
    return key


def find_order(url: str, features_key: str, context: Context, seed: int) -> Order:
    """Find a local order of a context that comes as a whole matrix."""
    features = read_features(Store(url), features_key)
    return Order.of_evidence(context.fit(features, seed))


def fit_context(
    url: str,
    features_key: str,
    context: Context,
    seed: int,
    found: Searched | None = None,
    operator_key: str | None = None,
) -> ConditionalRows:
    """Fit a context on the features in the store; lost with a worker, it is fitted again.

    Parameters
    ----------
    url, features_key : str
        Where things are in the store.
    context : Context
    seed : int
    found : str, optional
        Key of neighbours; the rows come in their order.
    operator_key : str, optional
        Of an operator that is laid out; the rows come in its order.

    Raises
    ------
    ContextError
        If the file of the context is another than when the key was made.
    """
    store = Store(url)
    features = read_features(store, features_key)
    if found is None or not isinstance(context, Knn | MaskedKnn):
        evidence = context.fit(features, seed)
        order = read_order(store.find(f"operators/{operator_key}")) if operator_key else None
    else:
        positions, details, order = read_neighbours(store, found)
        evidence = context.fit_found(features, positions, details, seed)
    if operator_key is not None:
        _require_unchanged(context, features, seed, operator_key)
    return evidence if order is None else in_order(evidence, order)


def _require_unchanged(context: Context, features: Features, seed: int, operator_key: str) -> None:
    """Refuse a file that changed; looked at after it was read, so that what was read is meant."""
    if not getattr(context, "path", None):
        return
    if not operator_key.startswith(context.identity(features, seed)):
        raise ContextError(
            f"context '{context.label}': its file changed while it was being read; let it be "
            "written first, and run the audit again."
        )


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
