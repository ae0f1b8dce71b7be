"""Stages of one context: its operator, block by block, and its scores."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

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
from contexture.score_jobs import Scoring, compute_scores, score_kernel
from contexture.store import Store
from contexture.store.features import read_features, read_targets
from contexture.store.moments import prepare_moments, prepare_tasks
from contexture.store.neighbours import neighbours_key
from contexture.store.operators import is_whole, prepare_operator
from contexture.store.results import result_key, reuse_context
from contexture.streamed_jobs import compute_moments, fit_draws, score_moments, target_shifts
from tasks.progress import gather, tell, worker_errors

_locks: dict[tuple[str, str], threading.Lock] = {}
_locks_lock = threading.Lock()


def _lock(url: str, key: str) -> threading.Lock:
    with _locks_lock:
        return _locks.setdefault((url, key), threading.Lock())


def _operator_key(features: Features, plan: ContextPlan, seed: int) -> str:
    identity = plan.resolved.identity(features, seed)
    if plan.route == "moments":
        return f"{identity}-moments-{plan.draws}-{plan.chunk_rows}"
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
    missing = set(prepare_moments(store, key, fit_draws(*arguments), plan.chunk_rows))
    targets = read_targets(store, features_key)
    tasks_key = _tasks_key(store, features_key)
    shifts = target_shifts(targets)
    untold = set(prepare_tasks(store, key, tasks_key, targets, shifts)) if targets else set()
    del targets
    if not missing | untold:
        tell(stage, 1, 1)
        return
    client = distributed.get_client()
    shared = client.submit(fit_draws, *arguments, pure=False, retries=2)
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
                shifts,
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


def _tasks_key(store: Store, features_key: str) -> str:
    return str(store.group(f"features/{features_key}").attrs["targets_fingerprint"])


@task(name="scores", task_run_name="scores-{plan.context}", cache_policy=NO_CACHE)
def score_context(
    url: str,
    run: str,
    features_key: str,
    operator_key: str,
    plan: ContextPlan,
    settings: dict[str, Any],
    threads: int,
    force: bool,
) -> str:
    """Decompose and score a context on Dask, or take over equal results; returns its path.

    ``threads`` may be used by it; they are not part of what decides the results.
    """
    store = Store(url)
    stage = f"{plan.context}: spectrum and scores"
    tasks_key = _tasks_key(store, features_key)
    described = {
        **settings, "route": plan.route, "left_functions": plan.left_functions,
        "features": features_key, "targets": tasks_key,
    }  # fmt: skip
    key = result_key(operator_key, described)
    description = {"description": plan.resolved.model_dump(mode="json")}
    if not force and reuse_context(store, run, plan.context, key, description):
        tell(stage, 1, 1)
        return f"runs/{run}/contexts/{plan.context}"
    scoring = Scoring(
        url, run, features_key, operator_key, tasks_key, key, plan.resolved,
        left_functions=plan.left_functions, memory=plan.solver_bytes or None,
        threads=threads, stage=stage, **settings,
    )  # fmt: skip
    if plan.route == "distributed":
        with worker_errors(stage):
            return compute_scores(scoring, distributed.get_client(), partial(tell, stage))
    jobs = {"moments": score_moments, "matrix-free": score_kernel}
    job = jobs.get(plan.route, compute_scores)
    future = distributed.get_client().submit(job, scoring, pure=False, retries=2, priority=1)
    return str(gather(stage, [future])[0])
