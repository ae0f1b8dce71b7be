"""Stages of one context: its operator, block by block, and its scores."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import distributed
from prefect import task
from prefect.cache_policies import NO_CACHE

from contexture.contexts.base import Context
from contexture.inputs import Features
from contexture.jobs import compute_block, compute_scores, fit_context
from contexture.store import Store
from contexture.store.features import read_features
from contexture.store.operators import prepare_operator
from contexture.store.results import result_key, reuse_context
from tasks.progress import gather, tell

_locks: dict[tuple[str, str], threading.Lock] = {}
_locks_lock = threading.Lock()


def _lock(url: str, key: str) -> threading.Lock:
    with _locks_lock:
        return _locks.setdefault((url, key), threading.Lock())


def _operator_key(features: Features, context: Context, chunk_rows: int, seed: int) -> str:
    return f"{context.identity(features, seed)}-{chunk_rows}"


@task(name="discard", cache_policy=NO_CACHE)
def discard_operators(
    url: str, features_key: str, contexts: Sequence[Context], chunk_rows: Sequence[int], seed: int
) -> None:
    """Remove the operators of these contexts, all before the first is computed anew.

    Two contexts may share one; removed later, it would go while the other reads it.
    """
    store = Store(url)
    features = read_features(store, features_key)
    for context, rows in zip(contexts, chunk_rows, strict=True):
        store.remove(f"operators/{_operator_key(features, context, rows, seed)}")


@task(name="operator", task_run_name="operator-{context.label}", cache_policy=NO_CACHE)
def estimate_operator(
    url: str, features_key: str, context: Context, chunk_rows: int, seed: int
) -> str:
    """Compute the missing blocks of a context's operator on Dask; returns its key."""
    store = Store(url)
    features = read_features(store, features_key)
    key = _operator_key(features, context, chunk_rows, seed)
    evidence = context.fit(features, seed)
    stage = f"{context.label}: operator"
    # Two contexts may come to the same operator (equal files, say): one computes, one waits.
    with _lock(url, key):
        missing = prepare_operator(store, key, evidence, chunk_rows)
        if not missing:
            tell(stage, 1, 1)
            return key
        client = distributed.get_client()
        # References and edges go to every worker once, not with every block. As the result of a
        # job they can be had again if the worker that holds them dies; scattered data could not.
        shared = client.submit(fit_context, url, features_key, context, seed, pure=False, retries=2)
        futures = [
            client.submit(compute_block, url, key, shared, block, pure=False, retries=2)
            for block in missing
        ]
        gather(stage, futures)
    return key


@task(name="scores", task_run_name="scores-{context.label}", cache_policy=NO_CACHE)
def score_context(
    url: str,
    run: str,
    features_key: str,
    operator_key: str,
    context: Context,
    settings: dict[str, Any],
    force: bool,
) -> str:
    """Decompose and score a context on Dask, or take over equal results; returns its path."""
    store = Store(url)
    stage = f"{context.label}: spectrum and scores"
    features = store.group(f"features/{features_key}")
    key = result_key(
        operator_key,
        {**settings, "features": features_key, "targets": features.attrs["targets_fingerprint"]},
    )
    description = {"description": context.model_dump(mode="json")}
    if not force and reuse_context(store, run, context.label, key, description):
        tell(stage, 1, 1)
        return f"runs/{run}/contexts/{context.label}"
    client = distributed.get_client()
    future = client.submit(
        compute_scores,
        url,
        run,
        features_key,
        operator_key,
        key,
        context,
        settings,
        pure=False,
        retries=2,
        priority=1,
    )
    return str(gather(stage, [future])[0])
