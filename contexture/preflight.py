"""What can be found out, and refused, before any long work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from contexture.contexts.base import Context
from contexture.contexts.knn import KnnFields
from contexture.corpus import Corpus
from contexture.encodings import OneHot, Scaled
from contexture.errors import ContextError
from contexture.estimators.machine import Machine
from contexture.estimators.options import Estimation
from contexture.estimators.plan import ContextPlan, plan_context
from contexture.features import Recipe
from contexture.inputs import Features


@dataclass(frozen=True)
class Preflight:
    """A corpus that was looked through, and the plan of every context on it.

    Attributes
    ----------
    rows, features : int
        n and D.
    targets : tuple of str
    source : str
        Where the corpus comes from.
    partitions : int
    numbers : tuple of str
        Columns that are scaled, datetimes among them.
    categories : tuple of (str, int)
        Columns that are one-hot encoded, and how many features each becomes.
    dropped : tuple of str
        Constant columns that are left out of X.
    plans : tuple of ContextPlan
    corpus : Corpus
        What was looked through, for whoever goes on with it.
    recipe : Recipe
        Its preprocessing, fitted.
    """

    rows: int
    features: int
    targets: tuple[str, ...]
    source: str
    partitions: int
    numbers: tuple[str, ...]
    categories: tuple[tuple[str, int], ...]
    dropped: tuple[str, ...]
    plans: tuple[ContextPlan, ...]
    corpus: Corpus
    recipe: Recipe


def preflight(
    corpus: Corpus,
    contexts: Sequence[Context],
    max_rank: int = 512,
    chunk_rows: int | None = None,
    estimation: Estimation | None = None,
    machine: Machine | None = None,
    rank_kept: int = 128,
) -> Preflight:
    """Check a corpus and its contexts, and plan them; nothing is computed or written.

    Parameters
    ----------
    corpus : Corpus
    contexts : sequence of Context
    max_rank, chunk_rows, estimation, machine, rank_kept
        As in `contexture.estimators.plan.plan_context`.

    Raises
    ------
    ConfigurationError
        If a route is given for a context that there is not.
    CorpusError
        If ids, weights, targets or columns cannot be used.
    ContextError
        If a context does not fit, or needs a package that is not installed; files that contexts
        bring are read and matched with the ids.
    """
    if estimation is not None:
        estimation.require_contexts([context.label for context in contexts])
    if corpus.id_column is not None:
        corpus.ids()
    corpus.weights()
    targets = corpus.target_columns()
    for _ in corpus.target_blocks(targets):
        pass  # one partition at a time: nothing grows with the rows
    recipe = Recipe.fit(corpus)
    n, D = corpus.rows, len(recipe.columns)
    tasks = sum(target.functions + 1 for target in targets)
    plans = tuple(
        plan_context(c, n, D, max_rank, chunk_rows, estimation, machine, rank_kept, tasks)
        for c in contexts
    )
    _require_search(plans)
    brought = [context for context in contexts if context.data_fingerprint()]
    if brought:
        # An edge list or a table of counts is matched with the ids alone; X is not looked at.
        nothing = np.broadcast_to(np.zeros(D), (n, D))
        for context in brought:
            context.fit(Features(nothing, corpus.ids(), corpus.weights(), ""))
    return Preflight(
        rows=n,
        features=D,
        targets=corpus.targets,
        source=corpus.source,
        partitions=len(corpus.partitions),
        numbers=tuple(step.name for step in recipe.steps if isinstance(step, Scaled)),
        categories=tuple(
            (step.name, len(step.columns)) for step in recipe.steps if isinstance(step, OneHot)
        ),
        dropped=recipe.dropped,
        plans=plans,
        corpus=corpus,
        recipe=recipe,
    )


def _require_search(plans: Sequence[ContextPlan]) -> None:
    """Refuse approximate neighbours where the package that finds them is missing."""
    for plan in plans:
        context = plan.resolved
        if not isinstance(context, KnnFields) or not context.approximates(plan.rows):
            continue
        if find_spec("pynndescent") is None:
            raise ContextError(
                f"context '{plan.context}' finds neighbours among {plan.rows:,} rows "
                "approximately, which needs the package pynndescent: install it by `pip install "
                "'contexture[scale]'`, or set search to 'exact', or give the context a reference."
            )
