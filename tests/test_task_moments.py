from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from contexture.corpus import Target
from contexture.task_moments import TaskMoments, count_functions, sum_of, task_columns

ROWS, M = 60, 12


def number() -> Target:
    values = np.random.default_rng(1).normal(size=ROWS) + 5.0
    values[::6] = np.nan
    return Target("y", "number", values)


def classes(levels: int = 4, rows: int = ROWS) -> Target:
    codes = np.random.default_rng(2).integers(-1, levels, rows)
    return Target("c", "class", codes, tuple(map(str, range(levels))))


def some_rows(kind: str) -> np.ndarray | sparse.csr_array:
    P = np.random.default_rng(3).dirichlet(np.full(M, 0.2), size=ROWS)
    P[P < 0.02] = 0.0
    return P if kind == "dense" else sparse.csr_array(P)


def weights() -> np.ndarray:
    return np.random.default_rng(4).uniform(1, 2, ROWS)


def dense(columns: np.ndarray | sparse.csr_array) -> np.ndarray:
    return columns.toarray() if sparse.issparse(columns) else np.asarray(columns)


def test_columns_of_a_target() -> None:
    y, c = number(), classes()
    assert (count_functions(y), count_functions(c)) == (1, 4)
    seen = ~np.isnan(y.values)
    expected = np.column_stack([np.where(seen, y.values - 5.0, 0.0), seen])
    np.testing.assert_array_equal(task_columns(y, 5.0), expected)
    found = task_columns(c)
    assert sparse.issparse(found)
    expected = np.column_stack([c.values == level for level in range(4)] + [c.values >= 0])
    np.testing.assert_array_equal(dense(found), expected)
    nothing = Target("c", "class", np.full(3, -1), ())
    np.testing.assert_array_equal(dense(task_columns(nothing)), np.zeros((3, 1)))


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize(
    "target", [number(), classes(), classes(90), Target("c", "class", np.full(ROWS, -1), ("a",))],
    ids=["number", "classes", "more classes than rows", "nothing seen"],
)  # fmt: skip
def test_sums_are_those_of_whole_columns(kind: str, target: Target) -> None:
    P, p, columns = some_rows(kind), weights(), task_columns(target)
    f = dense(columns)
    found = TaskMoments.of(P, p, columns)
    np.testing.assert_allclose(found.cross, dense(P).T @ (p[:, None] * f), rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.total, p @ f, rtol=1e-13)
    np.testing.assert_allclose(found.square, p @ f**2, rtol=1e-13)
    # The same piece by piece, in the arrays that are there.
    sums = TaskMoments.zero(M, count_functions(target))
    arrays = sums.cross, sums.total, sums.square
    for start in (0, 25, 50):
        rows = slice(start, start + 25)
        sums = sums.add(P[rows], p[rows], columns[rows])
    assert all(a is b for a, b in zip((sums.cross, sums.total, sums.square), arrays, strict=True))
    for name in ("cross", "total", "square"):
        np.testing.assert_allclose(getattr(sums, name), getattr(found, name), rtol=0, atol=1e-12)


def test_parts_add_up_and_stay_as_they_are() -> None:
    P, p, columns = some_rows("dense"), weights(), task_columns(classes())
    halves = [
        TaskMoments.of(P[rows], p[rows], columns[rows]) for rows in (slice(0, 30), slice(30, 60))
    ]
    before = halves[0].cross.copy()
    whole, total = TaskMoments.of(P, p, columns), sum_of(iter(halves))
    rest = total - halves[1]
    np.testing.assert_array_equal(halves[0].cross, before)
    for name in ("cross", "total", "square"):
        np.testing.assert_allclose(getattr(total, name), getattr(whole, name), atol=1e-13)
        np.testing.assert_allclose(getattr(rest, name), getattr(halves[0], name), atol=1e-13)


def test_some_functions_over_some_values_are_those_of_all() -> None:
    whole = TaskMoments.of(some_rows("csr"), weights(), task_columns(classes(7)))
    mass, kept = float(weights().sum()), np.array([0, 3, 4, 9])
    adjoint, norm = whole.adjoint(mass)
    some, of_some = whole.restricted(kept, slice(2, 5)).adjoint(mass)
    np.testing.assert_array_equal(some, adjoint[kept, 2:5])
    np.testing.assert_array_equal(of_some, norm[2:5])


def test_memory_does_not_depend_on_the_classes() -> None:
    """Rows × classes would be 61 MiB."""
    rows, m, levels = 20_000, 10, 400
    target = classes(levels, rows)
    P, p = np.full((rows, m), 1 / m), np.ones(rows)
    tracemalloc.start()
    try:
        found = TaskMoments.of(P, p, task_columns(target))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.total[:-1].sum() == found.total[-1] == (target.values >= 0).sum()
    assert peak < 4 * 2**20
