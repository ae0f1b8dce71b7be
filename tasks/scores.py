"""The second stage of a context: its spectrum and its scores."""

from __future__ import annotations

from functools import partial
from typing import Any

import distributed
from prefect import task
from prefect.cache_policies import NO_CACHE

from contexture.estimators.plan import ContextPlan
from contexture.jobs import fit_context
from contexture.score_jobs import Scoring, compute_scores, score_kernel
from contexture.store import Store
from contexture.store.features import targets_key
from contexture.store.left import finish_left, missing_left, take_over
from contexture.store.results import result_key, reuse_context
from contexture.streamed_jobs import compute_left, score_moments
from tasks.progress import gather, tell, worker_errors


@task(name="scores", task_run_name="scores-{plan.context}", cache_policy=NO_CACHE)
def score_context(
    url: str,
    run: str,
    features_key: str,
    operator_key: str,
    plan: ContextPlan,
    settings: dict[str, Any],
    threads: int,
    alone: bool,
    force: bool,
) -> str:
    """Decompose and score a context on Dask, or take over equal results; returns its path.

    ``threads`` may be used by it, and where it is ``alone``, all workers; neither is part of what
    decides the results.
    """
    store = Store(url)
    stage = f"{plan.context}: spectrum and scores"
    tasks_key = targets_key(store, features_key)
    described = {
        **settings, "route": plan.route, "left_functions": plan.left_functions,
        "targets": tasks_key,
    }  # fmt: skip
    if plan.kernel != "auto":
        described["kernel"] = plan.kernel
    key = result_key(operator_key, described)
    # Names, numbers and weights are in the key of the operator; the rest is how they were read.
    description = {
        "description": plan.resolved.model_dump(mode="json"), "features": features_key,
    }  # fmt: skip
    if not force and reuse_context(store, run, plan.context, key, description):
        tell(stage, 1, 1)
        return f"runs/{run}/contexts/{plan.context}"
    scoring = Scoring(
        url, run, features_key, operator_key, tasks_key, key, plan.resolved,
        left_functions=plan.left_functions, route=plan.route, kernel=plan.kernel,
        memory=plan.solver_bytes or None,
        threads=threads, stage=stage, reference_error=plan.reference_error, alone=alone,
        **settings,
    )  # fmt: skip
    if plan.route == "distributed":
        with worker_errors(stage):
            return compute_scores(scoring, distributed.get_client(), partial(tell, stage))
    jobs = {"moments": score_moments, "matrix-free": score_kernel}
    job = jobs.get(plan.route, compute_scores)
    if force or not take_over(store, run, plan.context, key, description):
        future = distributed.get_client().submit(job, scoring, pure=False, retries=2, priority=1)
        gather(stage, [future])
    else:
        tell(stage, 1, 1)
    if plan.route == "moments" and plan.left_functions:
        _stream_left(scoring)
    return scoring.path


def _stream_left(scoring: Scoring) -> None:
    """Compute the left functions that are missing on Dask, and let the results count."""
    missing = missing_left(scoring.store, scoring.path)
    if missing:
        client = distributed.get_client()
        shared = client.submit(
            fit_context, scoring.url, scoring.features_key, scoring.context, scoring.seed,
            pure=False, retries=2,
        )  # fmt: skip
        gather(
            f"{scoring.context.label}: left functions",
            [
                client.submit(
                    compute_left, scoring, shared, rows.start, rows.stop, pure=False, retries=2
                )
                for rows in missing
            ],
        )
    finish_left(scoring.store, scoring.path)
