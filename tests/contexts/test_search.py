from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from contexture.contexts import search
from contexture.contexts.search import References, nearest
from contexture.errors import InputError


def by_hand(X: np.ndarray, R: np.ndarray, k: int, own: np.ndarray, include: bool) -> np.ndarray:
    """Sort all distances, computed one by one; ties go to the reference that comes first."""
    found = np.empty((len(X), k), dtype=np.int64)
    for i, x in enumerate(X):
        squared = ((x - R) ** 2).sum(axis=1)
        if own[i] >= 0:
            squared[own[i]] = -1.0 if include else np.inf
        found[i] = np.argsort(squared, kind="stable")[:k]
    return found


def nobody(X: np.ndarray) -> np.ndarray:
    return np.full(len(X), -1)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("D", [1, 2, 3, 4, 5, 16, 500])
@pytest.mark.parametrize(
    ("m", "k"), [(2, 1), (130, 1), (130, 7), (130, 129), (700, 20), (700, 400)]
)
def test_against_sorting(D: int, m: int, k: int) -> None:
    X, R = normal(23, D), normal(m, D, seed=1)
    np.testing.assert_array_equal(
        nearest(X, R, k, nobody(X), True), by_hand(X, R, k, nobody(X), True)
    )


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("k", [1, 2, 40, 299])
def test_own_rows(k: int, include: bool) -> None:
    R = normal(300, 3)
    X, own = np.concatenate([R[::7], normal(9, 3, seed=2)]), np.full(52, -1)
    own[:43] = np.arange(0, 300, 7)
    found = nearest(X, R, k, own, include)
    np.testing.assert_array_equal(found, by_hand(X, R, k, own, include))


@pytest.mark.parametrize("m", [300, 5000])
@pytest.mark.parametrize("include", [True, False])
def test_grids_tie_exactly(m: int, include: bool) -> None:
    # Hundreds of references at equal distances: more than float32 keeps candidates.
    R = np.random.default_rng(3).integers(0, 4, size=(m, 3)).astype(float)
    X, own = R[:60], np.arange(60)
    found = nearest(X, R, 11, own, include)
    np.testing.assert_array_equal(found, by_hand(X, R, 11, own, include))


@pytest.mark.parametrize("value", [0.0, -7.5])
def test_all_references_alike(value: float) -> None:
    R, X = np.full((900, 2), value), normal(5, 2)
    np.testing.assert_array_equal(nearest(X, R, 3, nobody(X), True), [[0, 1, 2]] * 5)


@pytest.mark.parametrize("magnitude", [1e-100, 1e-30, 1e30, 1e100])
def test_magnitudes(magnitude: float) -> None:
    X, R = normal(40, 4), normal(500, 4, seed=1)
    found = nearest(X * magnitude, R * magnitude, 9, nobody(X), True)
    np.testing.assert_array_equal(found, by_hand(X, R, 9, nobody(X), True))


@pytest.mark.parametrize("magnitude", [1e-150, 1e-25, 1e20, 1e120])
def test_rows_of_another_magnitude_than_the_references(magnitude: float) -> None:
    X, R = normal(30, 3), normal(400, 3, seed=1)
    X[::2] *= magnitude
    np.testing.assert_array_equal(
        nearest(X, R, 5, nobody(X), True), by_hand(X, R, 5, nobody(X), True)
    )


def test_references_of_very_different_magnitudes() -> None:
    R = np.concatenate([normal(300, 3) * c for c in (1e-40, 1e-5, 1.0, 1e12, 1e60)])
    own = np.arange(len(R))
    np.testing.assert_array_equal(nearest(R, R, 6, own, True), by_hand(R, R, 6, own, True))


def test_offset_is_harmless() -> None:
    X, R = (np.round(normal(n, 3, seed=n) * 1024) / 1024 for n in (50, 3000))
    expected = by_hand(X, R, 12, nobody(X), True)
    for offset in (0.0, 1e5, 1e9):
        np.testing.assert_array_equal(
            nearest(X + offset, R + offset, 12, nobody(X), True), expected
        )


def test_far_clusters_keep_their_digits() -> None:
    R = normal(600, 3) * 1e-3
    R[::2] += 1e6
    own = np.arange(600)
    np.testing.assert_array_equal(nearest(R, R, 4, own, False), by_hand(R, R, 4, own, False))


@pytest.mark.parametrize("columns", [128, 256, 1000])
def test_tiles_do_not_matter(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sorted references: every tile brings nearer ones, so that candidates must be dropped.
    R = -np.sort(-np.abs(normal(3000, 1)), axis=0)
    X, own = R[::9], np.arange(0, 3000, 9)
    expected = by_hand(X, R, 20, own, False)
    monkeypatch.setattr(search, "_TILE_COLUMNS", columns)
    monkeypatch.setattr(search, "TILE_BYTES", 40_000)
    np.testing.assert_array_equal(nearest(X, R, 20, own, False), expected)


def test_cuts_do_not_matter() -> None:
    X, ready = normal(97, 6), References.of(normal(900, 6, seed=1))
    whole = ready.nearest(X, 8, nobody(X), True)
    for step in (1, 13):
        parts = [ready.nearest(X[i : i + step], 8, nobody(X[i : i + step]), True)
                 for i in range(0, 97, step)]  # fmt: skip
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_no_rows() -> None:
    assert nearest(np.empty((0, 3)), normal(9, 3), 4, np.empty(0, dtype=int), True).shape == (0, 4)


def test_input_is_left_alone() -> None:
    X, R = normal(20, 3), normal(200, 3, seed=1)
    a, b = X.copy(), R.copy()
    nearest(X, R, 3, nobody(X), True)
    np.testing.assert_array_equal(X, a)
    np.testing.assert_array_equal(R, b)


def test_other_layouts() -> None:
    X, R = normal(20, 8), normal(200, 8, seed=1)
    expected = by_hand(X[:, ::2], R[:, ::2], 3, nobody(X), True)
    found = nearest(X[:, ::2], np.asfortranarray(R[:, ::2]), 3, nobody(X), True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite(bad: float) -> None:
    X, R = normal(20, 3), normal(200, 3, seed=1)
    X[7, 2] = R[150, 1] = bad
    for rows, references, where in [
        (X, normal(200, 3), "row 7, column 2"),
        (normal(20, 3), R, "row 150, column 1"),
    ]:
        with pytest.raises(InputError) as caught:
            nearest(rows, references, 3, nobody(rows), True)
        assert str(caught.value) == (
            f"X is {bad} at {where}; every entry must be finite, so correct the row or leave it "
            "out."
        )


def test_rows_that_lie_too_far_apart() -> None:
    far = np.array([[1.7e308], [-1.7e308], [1.7e308], [1.7e308]])
    for rows, references in [(far, normal(30, 1) - 1e308), (normal(4, 1), far)]:
        with pytest.raises(InputError) as caught:
            nearest(rows, references, 3, nobody(rows), True)
        assert str(caught.value) == (
            "rows of X differ by more than floating point can hold, so none is the nearest; "
            "rescale X."
        )


@pytest.mark.parametrize("tile_bytes", [2000, 40_000])
def test_tiles_of_equal_rows_do_not_matter(
    tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    R = np.random.default_rng(3).integers(0, 4, size=(1500, 3)).astype(float)
    X, own = R[:60], np.arange(60)
    monkeypatch.setattr(search, "_TILE_COLUMNS", 256)
    monkeypatch.setattr(search, "TILE_BYTES", tile_bytes)
    found = nearest(X, R, 11, own, False)
    np.testing.assert_array_equal(found, by_hand(X, R, 11, own, False))


def test_equal_rows_take_no_second_copy_of_the_references() -> None:
    R = np.random.default_rng(3).integers(0, 2, size=(60_000, 24)).astype(float)
    R[:, 3:] = 0.0  # so that thousands are equally near
    ready, X = References.of(R), R[:4]
    ready.nearest(X, 5, nobody(X), True)  # compiled before it is measured
    tracemalloc.start()
    try:
        found = ready.nearest(X, 5, nobody(X), True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, by_hand(X, R, 5, nobody(X), True))
    assert peak < 0.8 * R.nbytes
