"""``decompose``: the route that suits, and nothing of size n × m where that would be large."""

from __future__ import annotations

import tracemalloc
from collections import namedtuple

import numpy as np
import pytest

import contexture as cx
from contexture import estimators as module
from contexture import moments
from contexture.contexts import Knn, MaskedRbf, Rbf
from contexture.errors import TooLargeError
from contexture.estimators import routes
from contexture.estimators.streamed import streamed_spectrum

Memory = namedtuple("Memory", "available")


def inputs(n: int, weighted: bool = False) -> cx.Features:
    generator = np.random.default_rng(n)
    weights = generator.uniform(0.5, 2, n) if weighted else None
    return cx.Features.from_array(generator.normal(size=(n, 3)), input_weights=weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "context",
    [Rbf(gamma=4, reference=60), Knn(k=5, reference=80), MaskedRbf(gamma=4, reference=50)],
    ids=str,
)
def test_rows_that_stream_by_give_what_the_whole_matrix_gives(
    context: cx.contexts.Context, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "TILE_BYTES", 8 * 60 * 37)
    data = inputs(700, weighted)
    expected = cx.decompose_operator(cx.operator_of(data, context), 30, route="exact")
    found = streamed_spectrum(context.fit(data, 0), 30)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, atol=1e-10)
    assert found.total_association == pytest.approx(expected.total_association)
    assert found.components == expected.components
    # By the signs of the left functions, which are there.
    apart = np.abs(np.diff(expected.eigenvalues, append=0)) > 1e-4
    first = np.flatnonzero(apart & np.r_[True, apart[:-1]])[:5]
    np.testing.assert_allclose(found.left[:, first], expected.left[:, first], atol=1e-6)
    ratio = found.standard_error[:10] / expected.standard_error[:10]
    assert (ratio > 0.3).all()
    assert (ratio < 3).all()


def test_dense_operators_over_many_rows_stream_by(monkeypatch: pytest.MonkeyPatch) -> None:
    data, context = inputs(4000), Rbf(gamma=2, reference=250)
    exact = cx.decompose(data, context, 20)
    assert exact.method.startswith("exact")
    monkeypatch.setattr(routes, "MOMENT_ROWS", 3000)
    monkeypatch.setattr(moments, "TILE_BYTES", 2**18)
    tracemalloc.start()
    found = cx.decompose(data, context, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.method.startswith("moments of the context values")
    assert peak < 4000 * 250 * 8 * 0.8
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues, atol=1e-10)


def test_left_functions_that_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = inputs(900)
    for context, limit in (
        (Rbf(gamma=2, reference=60), ("MOMENT_ROWS", 500)),
        (Rbf(gamma=2), ("DENSE_SIDE", 500)),
        (Rbf(gamma=2, reference=60), ("MOMENT_ROWS", 50_000)),
        (Knn(k=5), ("MOMENT_ROWS", 50_000)),
    ):
        monkeypatch.setattr(routes, *limit)
        none = cx.decompose(data, context, 20, left_functions=False)
        whole = cx.decompose(data, context, 20)
        assert (none.left.shape, whole.left.shape) == ((900, 0), (900, 20))
        np.testing.assert_array_equal(none.eigenvalues, whole.eigenvalues)
        monkeypatch.undo()


def test_left_functions_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOMENT_ROWS", 3000)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: Memory(2**20))
    data, context = inputs(4000), Rbf(gamma=2, reference=100)
    with pytest.raises(
        TooLargeError,
        match="context '.*' on 4,000 rows has 99 functions on the inputs of 3.0 MiB, and 1.0 MiB "
        "of memory are free; pass left_functions=False, or ask for a smaller rank.$",
    ):
        cx.decompose(data, context)
    assert cx.decompose(data, context, left_functions=False).left.shape == (4000, 0)
    assert cx.decompose(data, context, rank=20).left.shape == (4000, 20)


def test_kernels_among_all_rows_need_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    data, context = inputs(900), Rbf(gamma=2)
    exact = cx.decompose(data, context, 40)
    monkeypatch.setattr(routes, "DENSE_SIDE", 500)
    found = cx.decompose(data, context, 40)
    assert found.method.startswith("tiles")
    assert found.left.shape == exact.left.shape
    assert np.abs(found.eigenvalues - exact.eigenvalues).max() <= 1e-5
    assert abs(found.left[:, 0]) == pytest.approx(abs(exact.left[:, 0]), abs=0.02)


def test_what_cannot_be_held_is_refused_before_it_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: Memory(2**20))
    data = inputs(900)
    with pytest.raises(
        TooLargeError,
        match="context 'masked-rbf-1' on 900 rows has a dense operator of 6.2 MiB, and 1.0 MiB of "
        "memory are free; give the context a 'reference' of a few thousand rows.$",
    ):
        cx.decompose(data, MaskedRbf(gamma=1), 20)
    with pytest.raises(TooLargeError, match="rows, or call decompose, which needs no matrix.$"):
        cx.operator_of(data, Rbf(gamma=1))
    assert cx.operator_of(data, Knn(k=5)).shape == (900, 900)
    assert cx.operator_of(data, Rbf(gamma=1, reference=100)).shape == (900, 100)
