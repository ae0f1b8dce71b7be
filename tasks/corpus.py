"""Stages that turn a raw source into features, and look at the contexts before long work."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from contexture.contexts.base import Context
from contexture.estimators.plan import Machine, require_room
from contexture.preflight import Preflight, preflight
from contexture.readers import Reader
from contexture.store import Store
from contexture.store.base import require_store
from contexture.store.features import read_features, write_features
from tasks.progress import tell, worker_errors

FEATURE_ROWS = 8192
"""Rows of a chunk of X, unless the configuration says otherwise."""


@task(name="check", cache_policy=NO_CACHE)
def check(
    url: str,
    reader: Reader,
    contexts: Sequence[Context],
    max_rank: int,
    chunk_rows: int | None,
    machine: Machine,
) -> Preflight:
    """Look through the corpus, plan every context, and refuse what cannot be done."""
    require_store(url)
    found = preflight(reader.open(), contexts, max_rank, chunk_rows)
    require_room(list(found.plans), machine)
    return found


@task(name="features", cache_policy=NO_CACHE)
def write_corpus(url: str, reader: Reader, chunk_rows: int | None, force: bool) -> str:
    """Write X, ids, weights and targets; returns their key."""
    tell("features", 0, 1)
    with worker_errors("features"):
        store = Store.create(url)
        key = write_features(store, reader.open(), chunk_rows or FEATURE_ROWS, force)
    tell("features", 1, 1)
    return key


@task(name="fit", cache_policy=NO_CACHE)
def fit_all(url: str, features_key: str, contexts: Sequence[Context], seed: int) -> None:
    """Fit every context once, so that one that does not fit stops the run before it begins."""
    features = read_features(Store(url), features_key)
    for context in contexts:
        context.fit(features, seed)
