"""What Dask workers run: library functions, so that every worker can import them."""

from __future__ import annotations

from typing import Any

from contexture.contexts.base import ConditionalRows, Context
from contexture.estimators import decompose_operator
from contexture.evaluation import evaluate
from contexture.store.base import Store, attributes_of
from contexture.store.features import read_features, read_targets
from contexture.store.operators import read_operator, write_block
from contexture.store.results import write_context


def fit_context(url: str, features_key: str, context: Context, seed: int) -> ConditionalRows:
    """Fit a context on the features in the store; lost with a worker, it is fitted again."""
    return context.fit(read_features(Store(url), features_key), seed)


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
) -> str:
    """Decompose an operator, score it, and write the results of the context into a run.

    Parameters
    ----------
    url, run, features_key, operator_key, result_key : str
        Where things are in the store.
    context : Context
        Its description.
    settings : dict
        ``max_rank``, ``beta``, ``rank_kept`` and ``seed``.

    Returns
    -------
    str
        Path of the context's group.
    """
    store = Store(url)
    features = read_features(store, features_key)
    operator = read_operator(store, operator_key).in_memory()
    spectrum = decompose_operator(operator, settings["max_rank"], seed=settings["seed"])
    evaluation = evaluate(
        operator,
        spectrum,
        features.X,
        read_targets(store, features_key),
        max_rank=settings["max_rank"],
        beta=settings["beta"],
        rank_kept=settings["rank_kept"],
        seed=settings["seed"],
    )
    group = store.find(f"operators/{operator_key}")
    attributes = {
        "description": context.model_dump(mode="json"),
        "operator": operator_key,
        "features": features_key,
        "seed": settings["seed"],
        "details": attributes_of(group).get("details", {}),
    }
    write_context(
        store, run, context.label, context.family, evaluation, features.ids, result_key, attributes
    )
    return f"runs/{run}/contexts/{context.label}"
