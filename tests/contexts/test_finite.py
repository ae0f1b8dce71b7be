"""Inputs that are not finite, or too far out, where `Features.from_array` has not looked."""

from __future__ import annotations

import re

import numpy as np
import pytest
import zarr

from contexture.contexts import Context, Features, Knn, MaskedKnn, MaskedRbf, Rbf, knn
from contexture.errors import InputError
from tests.contexts.contract import D, N, points, some_features

KINDS = [Knn(k=3), MaskedKnn(k=3, n_masks=4), Rbf(gamma=1), MaskedRbf(gamma=1, n_masks=4)]


def unchecked(X: np.ndarray, stored: bool = False) -> Features:
    """Features as a store gives them, or someone who makes them by hand."""
    kept: np.ndarray | zarr.Array = X
    if stored:
        kept = zarr.create_array({}, shape=X.shape, chunks=(10, D), dtype="float64")
        kept[:] = X
    n = len(X)
    return Features(kept, np.arange(n), np.full(n, 1 / n), "by hand")


def sentence(value: float, row: int, column: int) -> str:
    return (
        f"X is {value} at row {row}, column {column}; every entry must be finite, so correct the "
        "row or leave it out."
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("context", KINDS, ids=str)
def test_references_are_finite(context: Context, stored: bool, bad: float) -> None:
    X = points()
    X[29, 2] = bad
    with pytest.raises(InputError, match=re.escape(sentence(bad, 29, 2))):
        context.fit(unchecked(X, stored))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("context", KINDS, ids=str)
def test_blocks_of_rows_are_finite(context: Context, stored: bool, bad: float) -> None:
    """The references are fine: the row came in, or was spoilt, after they were read."""
    X = points()
    evidence = context.fit(some_features())
    X[29, 2] = bad
    place = evidence.plain if hasattr(evidence, "plain") else evidence
    object.__setattr__(place, "X", unchecked(X, stored).X)
    evidence.rows(0, 29)
    with pytest.raises(InputError, match=re.escape(sentence(bad, 29, 2))):
        evidence.rows(20, N)


@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_an_approximate_search_are_finite(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "ALWAYS_EXACT", 20)
    X = points()
    X[30, 0] = np.nan
    context = (MaskedKnn if masked else Knn)(k=3, search="approximate")
    with pytest.raises(InputError, match=re.escape(sentence(np.nan, 30, 0))):
        context.find_neighbours(unchecked(X), 0)
    neighbours = np.zeros((N, 3 * (context.n_masks if masked else 1)), dtype=np.int32)
    evidence = context.fit_found(unchecked(X), neighbours, {})
    evidence.rows(0, N)  # from neighbours that are known; X is not read
    if not masked:
        with pytest.raises(InputError, match=re.escape(sentence(np.nan, 30, 0))):
            evidence.rows_of(points(3))


@pytest.mark.parametrize("context", KINDS, ids=str)
def test_inputs_too_far_out(context: Context) -> None:
    evidence = context.fit(some_features())
    X = points(3)
    X[1, 2] = -1e160
    with pytest.raises(InputError) as caught:
        evidence.rows_of(X)  # type: ignore[attr-defined]
    assert str(caught.value) == (
        "input 1 is -1e+160 in feature 2, and its distances to the references cannot be squared "
        "in floating point; give inputs within 2e+100 of them."
    )
    with pytest.raises(InputError) as caught:
        evidence.rows_of(np.ma.masked_less(points(3), 0.0))  # type: ignore[attr-defined]
    assert str(caught.value) == "the inputs hold masked values; give finite numbers."


@pytest.mark.parametrize(
    "context",
    [Knn(k=1), Rbf(gamma=1), Knn(k=1, reference=2), Rbf(gamma=1, reference=2)],
    ids=str,
)
def test_what_a_corpus_may_hold_may_be_an_input(context: Context) -> None:
    X = np.array([[0.0], [1e100], [-1e100], [5e99]])
    evidence = context.fit(Features.from_array(X))
    P = evidence.rows_of(X)  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.asarray(P.sum(axis=1)).ravel(), 1, atol=1e-12)
