from __future__ import annotations

import numpy as np
import pytest

from contexture.scores import centred, one_vs_rest
from contexture.scores.centred import CentredClasses, CentredColumns

N = 40


def weights() -> np.ndarray:
    p = np.random.default_rng(5).uniform(0.5, 2, N)
    return np.asarray(p / p.sum())


def by_hand(values: np.ndarray, p: np.ndarray) -> np.ndarray:
    found = np.zeros_like(values)
    for c, f in enumerate(values.T):
        seen = ~np.isnan(f)
        if seen.any() and len(set(f[seen])) > 1:
            found[seen, c] = f[seen] - p[seen] @ f[seen] / p[seen].sum()
    return found


@pytest.mark.parametrize("size", [1, 700, 2**22])
def test_columns(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is laid out at a time: numbers with gaps, a constant with gaps, and nothing."""
    monkeypatch.setattr(centred, "_PIECE_BYTES", size)
    values = np.random.default_rng(6).normal(size=(N, 4)) + 1e4
    values[::7, 0] = np.nan
    values[:, 2], values[::5, 2] = 0.1, np.nan
    values[:, 3] = np.nan
    tasks = CentredColumns(values, weights())
    assert tasks.functions == 4
    expected = by_hand(values, weights())
    np.testing.assert_allclose(tasks.piece(slice(0, N), slice(0, 4)), expected, atol=1e-11)
    np.testing.assert_array_equal(
        tasks.piece(slice(9, 20), slice(1, 3)), tasks.piece(slice(0, N), slice(0, 4))[9:20, 1:3]
    )
    p, gaps = weights(), np.isnan(values)
    np.testing.assert_allclose(tasks.observed, p @ ~gaps, rtol=1e-14)
    np.testing.assert_array_equal(tasks.missing(slice(0, N), slice(0, 4)), gaps)
    np.testing.assert_array_equal(tasks.missing(slice(9, 20), slice(0, 2)), gaps[9:20, :2])
    assert tasks.missing(slice(9, 20), slice(1, 2)).shape == (11, 0)  # this one has none
    assert np.isnan(values[0, 0])  # what was given stays as it is


def test_a_constant_of_many_rows_is_one() -> None:
    """The rounding of its mean grows with the rows; it is no task all the same."""
    n = 300_000
    tasks = CentredColumns(np.full((n, 1), 0.1), np.broadcast_to(1.0 / n, (n,)))
    assert not tasks.piece(slice(0, n), slice(0, 1)).any()


def test_classes_are_the_columns_of_one_vs_rest() -> None:
    p, rng = weights(), np.random.default_rng(7)
    for codes, levels in (
        (rng.integers(-1, 5, N), 7),  # two classes that nobody has
        (np.where(rng.random(N) < 0.3, -1, 2), 3),  # one that everybody has who has any
        (np.full(N, -1), 2),
        (np.full(N, -1), 0),
    ):
        tasks = CentredClasses(codes, levels, p)
        assert tasks.functions == levels
        expected = by_hand(one_vs_rest(codes, levels), p)
        found = tasks.piece(slice(0, N), slice(0, levels))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
        np.testing.assert_allclose(tasks.observed, [p[codes >= 0].sum()] * levels, rtol=1e-14)
        absent = tasks.missing(slice(11, 30), slice(0, levels))
        np.testing.assert_array_equal(absent, codes[11:30, None] < 0)
        part = tasks.piece(slice(11, 30), slice(1, min(2, levels)))
        np.testing.assert_array_equal(part, found[11:30, 1 : min(2, levels)])
    complete = CentredClasses(rng.integers(0, 5, N), 5, p)
    assert complete.missing(slice(11, 30), slice(0, 5)).shape == (19, 0)
