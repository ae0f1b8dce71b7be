"""What Dask workers run for contexts that are kept as moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.contexts.base import ConditionalRows, Context
from contexture.contexts.redraw import redrawn, within
from contexture.corpus import Target
from contexture.inputs import IntArray
from contexture.moments import HALVES, Moments, halves_of, masses, tiles, unit_of
from contexture.score_jobs import Scoring
from contexture.spectrum import FUNCTION_VALUE
from contexture.store.base import Store, array_of
from contexture.store.columns import COLUMN_ROWS
from contexture.store.features import count_observed, read_features, read_targets
from contexture.store.left import write_left
from contexture.store.moments import StoredMoments, write_moments, write_task_moments
from contexture.store.place import storage_errors
from contexture.streaming import Draw, Task, evaluate_draws
from contexture.task_moments import TaskMoments, count_functions, task_columns

SIGNS_OF_RIGHT = "settled by the right functions: the entry of nu_i of largest modulus is positive"
"""Of left functions that follow block by block: their own largest entry is known too late."""

WINDOW_BYTES = 32 * 2**20
"""Part of X and of the targets that is in memory at a time."""


def fit_draws(
    url: str, features_key: str, context: Context, seed: int, draws: int
) -> list[ConditionalRows]:
    """Fit a context over several independent draws of its references."""
    features = read_features(Store(url), features_key)
    first = context.fit(features, seed)
    return [redrawn(first, features.X, features.ids, seed, draw) for draw in range(draws)]


def compute_moments(
    url: str,
    features_key: str,
    key: str,
    tasks_key: str,
    evidence: Sequence[ConditionalRows],
    shifts: Sequence[float],
    start: int,
    stop: int,
    block: int,
    rows_wanted: bool,
    tasks_wanted: bool,
) -> int:
    """Stream the rows of one block and write their moments; returns the number of the block.

    Moments are kept of two halves of the rows, drawn by chance.

    Parameters
    ----------
    url, features_key, key, tasks_key : str
        Where things are in the store.
    evidence : sequence of ConditionalRows
        One a reference draw.
    shifts : sequence of float
        What is subtracted from each target.
    start, stop : int
        The rows.
    block : int
        Number of the block.
    rows_wanted, tasks_wanted : bool
        Which moments are missing.
    """
    store = Store(url)
    m, unit = evidence[0].shape[1], unit_of(evidence[0])
    both = range(HALVES)
    found = [[Moments.zero(m, unit) for _ in both] for _ in evidence]
    described = read_targets(store, features_key, slice(0, 0)) if tasks_wanted else ()
    of_tasks = [
        [[TaskMoments.zero(m, count_functions(t)) for t in described] for _ in both]
        for _ in evidence
    ]
    weights = evidence[0].input_weights
    for first, last in _windows(evidence[0], start, stop, len(described)):
        p = masses(weights, slice(first, last))
        targets = read_targets(store, features_key, slice(first, last)) if tasks_wanted else ()
        for draw, each in enumerate(evidence):
            windowed = within(each, first, last)
            for tile in tiles(first, last, m):
                whole = windowed.rows(tile.start, tile.stop)
                for half, chosen in enumerate(halves_of(tile)):
                    part = tile.start - first + np.flatnonzero(chosen)
                    rows = whole[chosen]
                    if rows_wanted:
                        found[draw][half] = found[draw][half].add(rows, p[part])
                    of_tasks[draw][half] = [
                        sums.add(rows, p[part], task_columns(_at(target, part), shift))
                        for sums, target, shift in zip(
                            of_tasks[draw][half], targets, shifts, strict=False
                        )
                    ]
    if rows_wanted:
        write_moments(store, key, block, found)
    if tasks_wanted:
        write_task_moments(store, key, tasks_key, block, of_tasks)
    return block


def _at(target: Target, rows: IntArray) -> Target:
    """Return a target at some of the rows at hand."""
    return replace(target, values=target.values[rows])


def _windows(evidence: Any, start: int, stop: int, targets: int = 0) -> Iterator[tuple[int, int]]:
    D = int(getattr(evidence, "plain", evidence).X.shape[1])
    step = max(1, WINDOW_BYTES // (8 * (D + targets)))
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def score_moments(scoring: Scoring) -> str:
    """Decompose and score a context that is kept as moments.

    Returns
    -------
    str
        Path of its results. Left functions that are wanted follow (`compute_left`); their signs,
        unlike those of other routes, are settled by the right ones, and the array says so.
    """
    store, features_key = scoring.store, scoring.features_key
    features = read_features(store, features_key)
    stored = StoredMoments(store, scoring.operator_key)
    observed = count_observed(store, features_key)
    described = read_targets(store, features_key, slice(0, 0))
    evidence = scoring.context.fit(features, scoring.seed)

    def tasks(draw: int) -> list[Task]:
        return [
            Task(target, stored.tasks(scoring.targets_key, number, draw), observed[number])
            for number, target in enumerate(described)
        ]

    evaluation = evaluate_draws(
        [
            Draw(
                stored.total(draw),
                lambda draw=draw: stored.halves(draw),  # type: ignore[misc]
                stored.masses,
                stored.marginals(draw),
                stored.context_values(draw),
                tasks(draw),
            )
            for draw in range(stored.draws)
        ],
        evidence,
        features.X,
        max_rank=scoring.max_rank,
        beta=scoring.beta,
        rank_kept=scoring.rank_kept,
        seed=scoring.seed,
    )
    path = scoring.write(evaluation, stored.details)
    group = store.group(path)
    if "left" in group:
        with storage_errors(store.url):
            array_of(group, "left").attrs["signs"] = SIGNS_OF_RIGHT
    return path


def compute_left(scoring: Scoring, evidence: ConditionalRows, start: int, stop: int) -> int:
    """Stream some rows once more and write their left functions, P·ν / s (theory.md §1).

    Parameters
    ----------
    scoring : Scoring
        Whose results are written but for these.
    evidence : ConditionalRows
        Over the first draw of the references, to which the functions belong.
    start, stop : int
        The rows of a block.
    """
    store = scoring.store
    kept = np.flatnonzero(StoredMoments(store, scoring.operator_key).marginals(0).sum(axis=0) > 0)
    group = store.group(scoring.path)
    # Over several draws, the values are means, and those of the functions lie beside them.
    name = FUNCTION_VALUE if FUNCTION_VALUE in group else "singular_value"
    right, singular = (np.asarray(array_of(group, n)[:]) for n in ("right", name))
    with np.errstate(divide="ignore", invalid="ignore"):
        functions = right / singular[: right.shape[1]]
    values = np.empty((stop - start, right.shape[1]))
    for first, last in _windows(evidence, start, stop):
        windowed = within(evidence, first, last)
        for tile in tiles(first, last, evidence.shape[1]):
            rows = windowed.rows(tile.start, tile.stop)[:, kept]
            values[tile.start - start : tile.stop - start] = rows @ functions
    write_left(store, scoring.path, start, values)
    return start


def find_shifts(url: str, features_key: str) -> list[float]:
    """Find a number near the middle of each numeric target, chunk by chunk; 0 for classes.

    The median of the medians of the chunks: what is subtracted only has to be near.
    """
    store = Store(url)
    n = int(read_features(store, features_key).shape[0])
    medians = [
        [
            _median(target.values) if target.kind == "number" else 0.0
            for target in read_targets(store, features_key, slice(start, start + COLUMN_ROWS))
        ]
        for start in range(0, n, COLUMN_ROWS)
    ]
    found = np.asarray([_median(column) for column in zip(*medians, strict=True)])
    return [float(shift) for shift in np.nan_to_num(found)]


def _median(values: npt.ArrayLike) -> float:
    seen = np.asarray(values, dtype=np.float64)
    seen = seen[~np.isnan(seen)]
    return float(np.median(seen)) if len(seen) else float("nan")
