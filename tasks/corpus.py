"""Stages that turn a raw source into features, and look at the contexts before long work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from contexture.contexts.base import Context
from contexture.estimators.machine import Machine
from contexture.estimators.options import Estimation
from contexture.estimators.room import require_room
from contexture.jobs import searched
from contexture.preflight import Preflight, preflight
from contexture.readers import Reader
from contexture.store import Store
from contexture.store.base import require_store
from contexture.store.features import read_features, write_features
from tasks.progress import tell, worker_errors

FEATURE_ROWS = 8192
"""Rows of a chunk of X, unless the configuration says otherwise."""

_looked_at: tuple[Any, Preflight] | None = None


def question_of(
    reader: Reader,
    contexts: Sequence[Context],
    max_rank: int,
    rank_kept: int,
    chunk_rows: int | None,
    estimation: Estimation,
) -> tuple[Any, ...]:
    """All that decides what a look at the corpus finds, but for the corpus itself."""
    return reader, tuple(contexts), max_rank, rank_kept, chunk_rows, estimation


@contextmanager
def looked_at(question: tuple[Any, ...], found: Preflight) -> Iterator[None]:
    """Hand on what was found a moment ago in this process, so that nothing is read twice."""
    global _looked_at
    before, _looked_at = _looked_at, (question, found)
    try:
        yield
    finally:
        _looked_at = before


@task(name="check", cache_policy=NO_CACHE)
def check(
    url: str,
    reader: Reader,
    contexts: Sequence[Context],
    max_rank: int,
    rank_kept: int,
    chunk_rows: int | None,
    estimation: Estimation,
    machine: Machine,
) -> Preflight:
    """Look through the corpus, plan every context, and refuse what cannot be done."""
    require_store(url)
    question = question_of(reader, contexts, max_rank, rank_kept, chunk_rows, estimation)
    if _looked_at is not None and _looked_at[0] == question:
        found = _looked_at[1]
    else:
        corpus = reader.open()
        found = preflight(corpus, contexts, max_rank, chunk_rows, estimation, machine, rank_kept)
    require_room(list(found.plans), machine)
    return found


@task(name="features", cache_policy=NO_CACHE)
def write_corpus(url: str, found: Preflight, chunk_rows: int | None, force: bool) -> str:
    """Write X, ids, weights and targets; returns their key."""
    tell("features", 0, 1)
    with worker_errors("features"):
        store = Store.create(url)
        rows = chunk_rows or FEATURE_ROWS
        key = write_features(store, found.corpus, rows, force, found.recipe)
    tell("features", 1, 1)
    return key


@task(name="fit", cache_policy=NO_CACHE)
def fit_all(url: str, features_key: str, contexts: Sequence[Context], seed: int) -> None:
    """Fit every context once, so that one that does not fit stops the run before it begins."""
    features = read_features(Store(url), features_key)
    for context in contexts:
        if searched(context, features):
            continue  # a long search, and all that could be refused has been looked at
        context.fit(features, seed)
