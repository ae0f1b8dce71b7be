"""The first stage of a context: its operator, block by block."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import distributed
from prefect import task
from prefect.cache_policies import NO_CACHE

from contexture.estimators.plan import ContextPlan
from contexture.inputs import Features
from contexture.jobs import (
    Searched,
    compute_block,
    find_neighbours,
    find_order,
    fit_context,
    searched,
)
from contexture.order import OrderedRows, in_order
from contexture.store import Store
from contexture.store.features import read_features, read_targets, targets_key
from contexture.store.moments import prepare_moments, prepare_tasks, stored_shifts
from contexture.store.neighbours import neighbours_key
from contexture.store.operators import is_whole, prepare_operator
from contexture.streamed_jobs import (
    compute_moments,
    find_shifts,
    fit_draws,
)
from tasks.progress import gather, tell

_locks: dict[tuple[str, str], threading.Lock] = {}
_locks_lock = threading.Lock()


def _lock(url: str, key: str) -> threading.Lock:
    with _locks_lock:
        return _locks.setdefault((url, key), threading.Lock())


def _operator_key(features: Features, plan: ContextPlan, seed: int) -> str:
    identity = plan.resolved.identity(features, seed)
    if plan.route == "moments":
        return f"{identity}-halves-{plan.draws}-{plan.chunk_rows}"
    return f"{identity}-{plan.chunk_rows}" + ("-local" if plan.ordered else "")


@task(name="discard", cache_policy=NO_CACHE)
def discard_operators(url: str, features_key: str, plans: Sequence[ContextPlan], seed: int) -> None:
    """Remove the operators of these contexts, all before the first is computed anew.

    Two contexts may share one; removed later, it would go while the other reads it.
    """
    store = Store(url)
    features = read_features(store, features_key)
    for plan in plans:
        for each in {plan, replace(plan, ordered=False)}:
            store.remove(f"operators/{_operator_key(features, each, seed)}")
            key = neighbours_key(plan.resolved, features, seed, each.ordered)
            store.remove(f"neighbours/{key}")


@task(name="operator", task_run_name="operator-{plan.context}", cache_policy=NO_CACHE)
def estimate_operator(url: str, features_key: str, plan: ContextPlan, seed: int) -> str:
    """Compute the missing blocks of a context's operator on Dask; returns its key."""
    store = Store(url)
    features = read_features(store, features_key)
    key = _operator_key(features, plan, seed)
    stage = f"{plan.context}: operator"
    plain = _operator_key(features, replace(plan, ordered=False), seed)
    if plan.ordered and is_whole(store, plain):
        tell(stage, 1, 1)
        return plain  # as good, and there
    if plan.route == "matrix-free":
        return key  # nothing is stored: rows are computed where they are needed
    # Two contexts may come to the same operator (equal files, say): one computes, one waits.
    with _lock(url, key):
        if plan.route == "moments":
            _estimate_moments(store, features_key, features, key, plan, seed, stage)
        else:
            _estimate_rows(store, features_key, features, key, plan, seed, stage)
    return key


def _estimate_rows(
    store: Store,
    features_key: str,
    features: Features,
    key: str,
    plan: ContextPlan,
    seed: int,
    stage: str,
) -> None:
    context, client = plan.resolved, distributed.get_client()
    found: Searched | None = None
    if searched(context, features):
        found = neighbours_key(context, features, seed, plan.ordered)
        search = client.submit(
            find_neighbours, store.url, features_key, context, seed, plan.ordered,
            pure=False, retries=2,
        )  # fmt: skip
        gather(f"{plan.context}: neighbours", [search])
    evidence = fit_context(store.url, features_key, context, seed, found, key)
    if plan.ordered and not isinstance(evidence, OrderedRows):
        search = client.submit(
            find_order, store.url, features_key, context, seed, pure=False, retries=2
        )
        evidence = in_order(evidence, gather(f"{plan.context}: order", [search])[0])
    missing = prepare_operator(store, key, evidence, plan.chunk_rows)
    del evidence
    if not missing:
        tell(stage, 1, 1)
        return
    # References and edges go to every worker once, not with every block. As the result of a
    # job they can be had again if the worker that holds them dies; scattered data could not.
    shared = client.submit(
        fit_context, store.url, features_key, context, seed, found, key, pure=False, retries=2
    )
    gather(
        stage,
        [
            client.submit(compute_block, store.url, key, shared, block, pure=False, retries=2)
            for block in missing
        ],
    )


def _estimate_moments(
    store: Store,
    features_key: str,
    features: Features,
    key: str,
    plan: ContextPlan,
    seed: int,
    stage: str,
) -> None:
    arguments = (store.url, features_key, plan.resolved, seed, plan.draws)
    targets = read_targets(store, features_key, slice(0, 0))
    tasks_key = targets_key(store, features_key)
    client = distributed.get_client()
    # Fitted on a worker, once: the names of millions of rows are hashed for it.
    shared = client.submit(fit_draws, *arguments, pure=False, retries=2)
    laid_out = client.submit(
        prepare_moments, store, key, shared, plan.chunk_rows, pure=False, retries=2
    )
    missing = set(gather(f"{plan.context}: references", [laid_out])[0])
    untold, shifts = set[int](), stored_shifts(store, key, tasks_key)
    if targets:
        if shifts is None:
            job = client.submit(find_shifts, store.url, features_key, pure=False, retries=2)
            shifts = gather(f"{plan.context}: targets", [job])[0]
        untold = set(prepare_tasks(store, key, tasks_key, targets, shifts))
    if not missing | untold:
        tell(stage, 1, 1)
        return
    gather(
        stage,
        [
            client.submit(
                compute_moments,
                store.url,
                features_key,
                key,
                tasks_key,
                shared,
                shifts or [],
                block * plan.chunk_rows,
                min((block + 1) * plan.chunk_rows, plan.rows),
                block,
                block in missing,
                block in untold,
                pure=False,
                retries=2,
            )
            for block in sorted(missing | untold)
        ],
    )
