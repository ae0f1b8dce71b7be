"""What Dask workers run: library functions, so that every worker can import them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import distributed
from threadpoolctl import threadpool_limits

from contexture.contexts.base import ConditionalRows, Context
from contexture.contexts.knn import Knn
from contexture.contexts.masked import MaskedKnn
from contexture.contexts.rbf import RbfRows
from contexture.errors import EvidenceError
from contexture.estimators import decompose_operator
from contexture.estimators.distributed import DistributedProducts
from contexture.estimators.kernel_spectrum import kernel_spectrum
from contexture.estimators.products import Products
from contexture.evaluation import evaluate
from contexture.inputs import Features
from contexture.lazy import EvidenceBlocks
from contexture.operator import ExpectationOperator
from contexture.scores.association import Sampled
from contexture.spectrum import Spectrum
from contexture.store.base import Store, attributes_of
from contexture.store.features import read_features, read_targets
from contexture.store.neighbours import (
    has_neighbours,
    neighbours_key,
    read_neighbours,
    write_neighbours,
)
from contexture.store.operators import read_operator, write_block
from contexture.store.results import write_context
from contexture.streaming import sampled_association

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


def compute_scores(
    url: str,
    run: str,
    features_key: str,
    operator_key: str,
    result_key: str,
    context: Context,
    settings: dict[str, Any],
    client: distributed.Client | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Decompose an operator, score it, and write the results of the context into a run.

    Parameters
    ----------
    url, run, features_key, operator_key, result_key : str
        Where things are in the store.
    context : Context
        Its description.
    settings : dict
        ``max_rank``, ``beta``, ``rank_kept``, ``seed``, ``tolerance``, ``left_functions`` and
        ``memory`` (bytes that an iterative solver may fill) and ``threads``.
    client : distributed.Client, optional
        Its workers hold the blocks and multiply; without it, P is read into memory.
    progress : callable, optional
        Called with (done, total) while the solver runs.

    Returns
    -------
    str
        Path of the context's group.
    """
    store = Store(url)
    operator = read_operator(store, operator_key)
    progress = progress or telling(settings.get("stage", ""))
    with ExitStack() as stack:
        products: Any = None
        if client is None:
            operator = operator.in_memory()
        else:

            def products(lazy: ExpectationOperator) -> Products:
                return stack.enter_context(DistributedProducts(client, lazy))

        stack.enter_context(threadpool_limits(settings["threads"], "blas"))
        spectrum = decompose_operator(
            operator,
            settings["max_rank"],
            settings["tolerance"],
            settings["seed"],
            functions=settings["rank_kept"],
            left_functions=settings["left_functions"],
            memory=settings["memory"],
            workspace=None if "://" in url else Path(url),
            progress=progress,
            products=products,
        )
    details = attributes_of(store.find(f"operators/{operator_key}")).get("details", {})
    return write_scores(
        store,
        run,
        features_key,
        operator_key,
        result_key,
        context,
        settings,
        operator,
        spectrum,
        details,
    )


def score_kernel(
    url: str,
    run: str,
    features_key: str,
    operator_key: str,
    result_key: str,
    context: Context,
    settings: dict[str, Any],
) -> str:
    """Decompose and score a kernel context without its matrix; as `compute_scores`."""
    store = Store(url)
    features = read_features(store, features_key)
    evidence = context.fit(features, settings["seed"])
    if not isinstance(evidence, RbfRows):
        raise EvidenceError(f"context '{context.label}' is no kernel; choose another route.")
    spectrum = kernel_spectrum(
        evidence,
        settings["max_rank"],
        settings["tolerance"],
        settings["seed"],
        memory=settings["memory"],
        functions=settings["rank_kept"],
        left_functions=settings["left_functions"],
        threads=settings["threads"],
    )
    operator = ExpectationOperator(
        EvidenceBlocks(evidence),
        spectrum.input_weights,
        spectrum.context_weights,
        spectrum.context_values,
    )
    sampled = sampled_association(spectrum.context_weights, evidence, features.X, settings["seed"])
    return write_scores(
        store,
        run,
        features_key,
        operator_key,
        result_key,
        context,
        settings,
        operator,
        spectrum,
        dict(evidence.details),
        sampled,
    )


def write_scores(
    store: Store,
    run: str,
    features_key: str,
    operator_key: str,
    result_key: str,
    context: Context,
    settings: dict[str, Any],
    operator: ExpectationOperator,
    spectrum: Spectrum,
    details: dict[str, Any],
    sampled: tuple[Sampled, Sampled] | None = None,
) -> str:
    """Score a spectrum and write the results; returns the path of the context's group."""
    features = read_features(store, features_key)
    evaluation = evaluate(
        operator,
        spectrum,
        features.X,
        read_targets(store, features_key),
        max_rank=settings["max_rank"],
        beta=settings["beta"],
        rank_kept=settings["rank_kept"],
        seed=settings["seed"],
        sampled=sampled,
    )
    attributes = {
        "description": context.model_dump(mode="json"),
        "operator": operator_key,
        "features": features_key,
        "seed": settings["seed"],
        "tolerance": settings["tolerance"],
        "details": details,
    }
    ids = features.names if settings["left_functions"] else None
    write_context(
        store, run, context.label, context.family, evaluation, ids, result_key, attributes
    )
    return f"runs/{run}/contexts/{context.label}"
