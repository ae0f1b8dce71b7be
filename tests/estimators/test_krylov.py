"""The solver by itself, on dense matrices whose eigenvalues are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contexture.estimators import krylov
from contexture.estimators.convergence import Eigenpairs
from contexture.estimators.deflation import Space
from contexture.estimators.krylov import BLOCK, EXTRA, top_eigenpairs
from contexture.inputs import FloatArray

SIDE = 400


def matrix(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A matrix with these eigenvalues beside a trivial 1, and its trivial vector."""
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(SIDE, SIDE)))[0]
    given = np.zeros(SIDE)
    given[0], given[1 : 1 + len(values)] = 1.0, values
    return (V * given) @ V.T, V[:, 0]


def solved(
    values: FloatArray, count: int, tolerance: float, dtype: type, **options: object
) -> Eigenpairs:
    G, trivial = matrix(values)
    held = G.astype(dtype)
    return top_eigenpairs(lambda X: held @ X, Space(trivial), count, tolerance, dtype, **options)


SPECTRA = {
    "decaying": 0.97 ** np.arange(1, 300),
    "flat": np.linspace(0.9, 0.4, 399),
    "a cluster wider than the block": np.r_[np.full(BLOCK + 8, 0.9), np.linspace(0.5, 0, 300)],
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("decaying", 10),
        ("decaying", 60),
        ("flat", 10),
        ("flat", 60),
        ("a cluster wider than the block", 60),
        ("a cluster wider than the block", 10),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-6), (np.float64, 1e-10)]
)
def test_errors_are_within_the_bounds_that_are_given(
    name: str, count: int, dtype: type, tolerance: float
) -> None:
    pairs = solved(SPECTRA[name], count, tolerance, dtype)
    error = np.abs(pairs.values - SPECTRA[name][:count])
    # Rounding included: no floor excuses a bound that is too small.
    assert (error <= pairs.errors).all()
    assert pairs.errors.max() <= tolerance
    assert pairs.errors.min() >= 16 * np.finfo(dtype).eps
    V = pairs.basis.columns(0, count).astype(float)
    close = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(V.T @ V, np.eye(count), atol=close)
    np.testing.assert_allclose(V.T @ matrix(SPECTRA[name])[1], 0, atol=close)


def test_a_small_basis_is_restarted_and_knows_the_same() -> None:
    """Restarts keep what was found: with a third of the basis, at most some times the products."""
    values, count = SPECTRA["flat"], 30
    plain = solved(values, count, 1e-9, np.float64)
    seen: list[tuple[int, int]] = []
    columns = 2 * (count + EXTRA) + 4 * BLOCK
    small = solved(
        values,
        count,
        1e-9,
        np.float64,
        memory=SIDE * 8 * columns,
        progress=lambda *now: seen.append(now),
    )
    assert max(used for used, _ in seen) <= columns
    assert any(later < before for (before, _), (later, _) in zip(seen, seen[1:], strict=False))
    assert small.errors.max() <= 1e-9
    np.testing.assert_allclose(small.values, plain.values, atol=1e-9)
    assert small.products < 4 * plain.products


def test_a_basis_that_has_no_room_lies_on_disk(tmp_path: Path) -> None:
    values, folder = SPECTRA["flat"], tmp_path / "new"
    plain = solved(values, 30, 1e-9, np.float64)
    assert not folder.exists()
    disk = solved(values, 30, 1e-9, np.float64, memory=SIDE * 8 * 10, workspace=folder)
    assert folder.is_dir()
    np.testing.assert_array_equal(disk.values, plain.values)
    np.testing.assert_array_equal(disk.basis.columns(0, 30), plain.basis.columns(0, 30))
    disk.basis.close()


def test_rounding_of_what_is_lifted_most_is_polished_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two values far above the rest: single precision stalls on the filtered basis alone."""
    values = np.r_[0.99, 0.98, np.linspace(0.3, 0, SIDE - 10)]
    pairs = solved(values, 40, 1e-5, np.float32)
    assert (np.abs(pairs.values - values[:40]) <= pairs.errors).all()
    assert pairs.errors.max() <= 1e-5
    monkeypatch.setattr(krylov._Solver, "polish", lambda self, values, errors: (values, errors))
    assert solved(values, 40, 1e-5, np.float32).errors.max() > 1e-5


def test_what_float32_cannot_reach_is_admitted() -> None:
    pairs = solved(SPECTRA["decaying"], 20, 1e-9, np.float32)
    error = np.abs(pairs.values - SPECTRA["decaying"][:20])
    assert 1e-9 < pairs.errors.max() < 1e-4
    assert (error <= pairs.errors).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
def test_ritz_vectors_of_the_filter_are_enough(
    dtype: type, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of G: no second turn is made, and one would change nothing that counts."""
    values = SPECTRA["flat"]

    def unwanted(*given: object) -> None:
        raise AssertionError("the basis was turned twice")

    with monkeypatch.context() as patched:
        patched.setattr(krylov, "rayleigh_ritz", unwanted)
        once = solved(values, 60, tolerance, dtype)
    monkeypatch.setattr(krylov, "judge", lambda *given: None)
    twice = solved(values, 60, tolerance, dtype)
    for pairs in (once, twice):
        assert (np.abs(pairs.values - values[:60]) <= pairs.errors).all()
        assert pairs.errors.max() <= tolerance
    X, Y = (pairs.basis.columns(0, 60).astype(float) for pairs in (once, twice))
    # The same vectors, but for their signs and what the residuals allow.
    np.testing.assert_allclose(np.abs(np.sum(X * Y, axis=0)), 1.0, atol=np.sqrt(tolerance))


STEEP = np.r_[np.linspace(0.9, 0.01, 30), 0.005 * 0.8 ** np.arange(300)]
"""A few large values, and then so steep a fall that an estimated cut may miss what is wanted."""


def test_values_below_the_cut_are_found_without_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut far above the wanted values: their residuals are small, but they are others' values."""
    monkeypatch.setattr(
        krylov.Filter, "choose", classmethod(lambda cls, *given: cls(STEEP[29] * 1.02, 2))
    )
    pairs = solved(STEEP, 50, 1e-10, np.float64)
    assert (np.abs(pairs.values - STEEP[:50]) <= pairs.errors).all()
    assert pairs.errors.max() <= 1e-10


def test_a_value_that_was_seen_last_and_not_found_is_in_the_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the end always finds something missed, nothing is known but that no value is above 1."""
    monkeypatch.setattr(
        krylov._Solver, "probe", lambda self, values: self.space.draw(BLOCK, self.dtype)
    )
    monkeypatch.setattr(krylov, "_CYCLES", 2)
    pairs = solved(SPECTRA["decaying"], 20, 1e-10, np.float64)
    assert (pairs.errors >= 1.0 - pairs.values).all()
    assert pairs.errors.max() <= 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_that_rounding_made_dependent_have_no_bounds(
    dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dependent(*given: object) -> None:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(krylov, "judge", lambda *given: None)
    monkeypatch.setattr(krylov, "rayleigh_ritz", dependent)
    pairs = solved(SPECTRA["decaying"], 20, 1e-5, dtype)
    np.testing.assert_array_equal(pairs.errors, 1.0)
    assert pairs.values.shape == (20,)


@pytest.mark.parametrize("side", [3, 9, 20, 25, 30, 70])
def test_small_spaces(side: int) -> None:
    values = np.linspace(0.9, 0.1, side)[1:] ** 3
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(side, side)))[0]
    G = (V * np.r_[1.0, values]) @ V.T
    for count in (1, 2):
        pairs = top_eigenpairs(lambda X: G @ X, Space(V[:, 0]), count, 1e-9, np.float64)
        np.testing.assert_allclose(pairs.values, values[:count], atol=1e-9)
