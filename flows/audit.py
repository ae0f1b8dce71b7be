"""The audit: from a raw source to ranked contexts in a Zarr store."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from contexture.contexts import AnyContext
from contexture.estimators.options import Estimation
from contexture.readers import AnyReader
from contexture.report import require_report_place
from contexture.store import Store
from contexture.store.runs import begin_run, finish_run
from flows.cluster import machine_of, open_cluster, threads_for
from flows.configuration import validate_parameters
from flows.form import Tabs
from flows.parameters import (
    AnyCluster,
    AuditName,
    AuditParameters,
    Beta,
    ChunkRows,
    LocalCluster,
    Rank,
    Seed,
    StorePlace,
)
from flows.signals import uninterrupted
from tasks.contexts import discard_operators, estimate_operator
from tasks.corpus import check, fit_all, write_corpus
from tasks.progress import hear_workers
from tasks.publish import publish_artifacts, write_report_file
from tasks.scores import score_context

PACKAGES = ("numpy", "scipy", "scikit-learn", "dask", "dask-ml", "zarr", "xarray", "prefect")
"""Packages whose versions are kept with every run."""


# The docstring below is in Google style: Prefect reads the descriptions of the form from it.
@flow(
    name="audit",
    flow_run_name="audit-{name}",
    task_runner=ThreadPoolTaskRunner(max_workers=16),  # type: ignore[arg-type]
)
def audit(
    name: AuditName,
    corpus: Annotated[AnyReader, Tabs()],
    contexts: Annotated[list[Annotated[AnyContext, Tabs()]], Field(min_length=1)],
    max_rank: Rank = 512,
    beta: Beta = 1.0,
    rank_kept: Rank = 128,
    seed: Seed = 0,
    store: StorePlace | None = None,
    cluster: Annotated[AnyCluster, Tabs()] = LocalCluster(),  # noqa: B008 - frozen
    chunk_rows: ChunkRows | None = None,
    estimation: Estimation = Estimation(),  # noqa: B008 - frozen
    force: bool = False,
) -> str:
    """Audit a corpus: which context should a model on it learn from, and is it any good?

    Args:
        name: What the corpus is called; also the default name of the store.
        corpus: Where the data lie and what the columns are for.
        contexts: The contexts to compare.
        max_rank: Number of singular values that count in the usefulness τ (d_0).
        beta: Weight of the second term of the usefulness τ (β).
        rank_kept: Singular functions that the store keeps of each context.
        seed: Reference rows, masks and samples are drawn by it.
        store: Folder or URL of the Zarr store; <name>.zarr in the working directory if left out.
        cluster: The Dask workers that compute.
        chunk_rows: Rows computed and written at a time; chosen by size if left out.
        estimation: How the spectra are computed; chosen by the plan where nothing is said.
        force: Compute everything anew, also what the store already holds.

    Returns:
        Id of the run in the store.
    """  # noqa: D400, D406, D407
    given = {
        "name": name, "corpus": corpus, "contexts": contexts, "max_rank": max_rank, "beta": beta,
        "rank_kept": rank_kept, "seed": seed, "store": store, "cluster": cluster,
        "chunk_rows": chunk_rows, "estimation": estimation,
    }  # fmt: skip
    # Workers may have been started in another folder than this process.
    parameters = validate_parameters(given, "parameters").resolved(Path.cwd())
    corpus, contexts = parameters.corpus, list(parameters.contexts)
    url = parameters.store_url
    # Looked at before workers are started: what can be refused is refused at once.
    machine = machine_of(parameters.cluster, url)
    require_report_place(url)
    found = check(url, corpus, contexts, max_rank, rank_kept, chunk_rows, estimation, machine)
    plans = found.plans
    with open_cluster(parameters.cluster) as client:
        hear_workers(client)
        features_key = write_corpus(url, found, chunk_rows, force)
        fit_all(url, features_key, [plan.resolved for plan in plans], seed)
        if force:
            discard_operators(url, features_key, plans, seed)
        run = begin_run(Store(url), _provenance(parameters, features_key))
        try:
            settings = parameters.model_dump(include={"max_rank", "beta", "rank_kept", "seed"})
            settings["tolerance"] = estimation.tolerance
            # With fewer contexts than cores, each may use several.
            threads = threads_for(client, len(plans))
            operators = {
                plan.context: estimate_operator.submit(url, features_key, plan, seed)
                for plan in plans
            }
            scores = [
                score_context.submit(
                    url,
                    run,
                    features_key,
                    operators[plan.context],
                    plan,
                    settings,
                    threads,
                    len(plans) == 1,
                    force,
                )
                for plan in plans
            ]
            for future in [*operators.values(), *scores]:
                future.result()
        except BaseException as error:
            with uninterrupted():
                finish_run(Store(url), run, _status(error), {"error": str(error)[:1000]})
            raise
        finish_run(Store(url), run, "complete", {})
    publish_artifacts(url, run)
    write_report_file(url, run)
    return run


def _provenance(parameters: AuditParameters, features_key: str) -> dict[str, Any]:
    """Everything about a run that is known when it begins."""
    features = Store(parameters.store_url).group(f"features/{features_key}")
    return {
        "name": parameters.name,
        "configuration": parameters.model_dump(mode="json"),
        "contexts": [context.label for context in parameters.contexts],
        "targets": features.attrs["targets"],
        "seed": parameters.seed,
        "features": features_key,
        "corpus_fingerprint": features.attrs["corpus_fingerprint"],
        "partitions": features.attrs["partitions"],
        "source": features.attrs["source"],
        "rows": features["X"].shape[0],
        "columns": features["X"].shape[1],
        "versions": {
            "python": platform.python_version(),
            "contexture": version("contexture"),
            **{package: version(package) for package in PACKAGES},
        },
    }


def _status(error: BaseException) -> str:
    return "failed" if isinstance(error, Exception) else "interrupted"
