from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import pdist

from contexture.contexts import Context, Features, Rbf, distances
from contexture.contexts.distances import median_squared_distance, squared_distances
from contexture.errors import ContextError
from tests.contexts.contract import ContextContract, dense, points, some_features


def by_hand(X: np.ndarray, R: np.ndarray, gamma: float) -> np.ndarray:
    weights = np.exp(-gamma * ((X[:, None, :] - R[None, :, :]) ** 2).sum(-1))
    P: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return P


class TestRbf(ContextContract):
    kind = "rbf"

    def context(self, folder: Path) -> Context:
        return Rbf(gamma=2)

    def siblings(self, folder: Path) -> list[Context]:
        return [
            Rbf(gamma=2.5),
            Rbf(gamma=2, scale="absolute"),
            Rbf(gamma=2, reference=20),
            Rbf(gamma=2, reference=21),
        ]


@pytest.mark.parametrize("gamma", [1e-6, 0.5, 3.0, 40.0])
def test_absolute(gamma: float) -> None:
    X = points(25)
    found = dense(Rbf(gamma=gamma, scale="absolute").fit(Features.from_array(X)), 7)
    np.testing.assert_allclose(found, by_hand(X, X, gamma), rtol=1e-11, atol=1e-15)


def test_median_is_the_unit() -> None:
    X = points(25)
    median = float(np.median(pdist(X, "sqeuclidean")))
    evidence = Rbf(gamma=2).fit(Features.from_array(X))
    np.testing.assert_allclose(dense(evidence), by_hand(X, X, 2 / median), rtol=1e-10, atol=1e-15)
    assert evidence.details["median_squared_distance"] == pytest.approx(median, rel=1e-12)
    assert evidence.details["scaled_gamma"] == pytest.approx(2 / median, rel=1e-12)
    assert Rbf(gamma=2, scale="absolute").fit(Features.from_array(X)).details == {
        "scaled_gamma": 2.0
    }


def test_unit_of_x_does_not_matter() -> None:
    a, b = (dense(Rbf(gamma=2).fit(Features.from_array(points() * c))) for c in (1.0, 1e-3))
    np.testing.assert_allclose(a, b, rtol=1e-9)


def test_reference_sample() -> None:
    features = some_features()
    evidence = Rbf(gamma=1.5, scale="absolute", reference=9).fit(features, 4)
    names = features.ids.tolist()
    positions = [names.index(a) for a in evidence.context_values.tolist()]
    expected = by_hand(points(), points()[positions], 1.5)
    np.testing.assert_allclose(dense(evidence), expected, rtol=1e-11)


def test_median_is_of_all_rows_not_of_the_references() -> None:
    a = Rbf(gamma=1).fit(some_features())
    b = Rbf(gamma=1, reference=5).fit(some_features(), 3)
    assert a.details == b.details


def test_median_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    features = some_features(points(400))
    exact = float(np.median(pdist(points(400), "sqeuclidean")))
    monkeypatch.setattr(distances, "MEDIAN_SAMPLE", 200)
    drawn = [median_squared_distance(features, seed) for seed in range(3)]
    assert len(set(drawn)) == 3
    np.testing.assert_allclose(drawn, exact, rtol=0.15)
    order = np.random.default_rng(0).permutation(400)
    permuted = some_features(points(400)[order], ids=features.ids[order])
    assert median_squared_distance(permuted, 1) == pytest.approx(drawn[1], rel=1e-12)


def test_offset_changes_nothing() -> None:
    X = np.round(points() * 1024) / 1024
    a, b = (dense(Rbf(gamma=20).fit(Features.from_array(X + offset))) for offset in (0.0, 1e8))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)


def test_far_rows_do_not_underflow() -> None:
    # The nearest reference is so far that exp(-γ d²) is 0 in floating point.
    X = np.array([[0.0], [1.0], [2.0], [1000.0]])
    evidence = Rbf(gamma=1, scale="absolute", reference=3).fit(Features.from_array(X), 0)
    seeds = (
        s
        for s in range(50)
        if 3 not in Rbf(gamma=1, reference=3).fit(Features.from_array(X), s).context_values
    )
    evidence = Rbf(gamma=1, scale="absolute", reference=3).fit(Features.from_array(X), next(seeds))
    np.testing.assert_allclose(dense(evidence)[3], [0, 0, 1], atol=1e-15)


def test_squared_distances_are_not_negative() -> None:
    X = points() + 1e4
    found = squared_distances(X, X)
    assert (found >= 0).all()
    np.testing.assert_allclose(found, ((X[:, None] - X[None]) ** 2).sum(-1), atol=1e-11)


@pytest.mark.parametrize(
    ("context", "name"),
    [
        (Rbf(gamma=10), "rbf-10"),
        (Rbf(gamma=0.25), "rbf-0.25"),
        (Rbf(gamma=3, reference=50), "rbf-3-m50"),
    ],
)
def test_default_names(context: Rbf, name: str) -> None:
    assert context.default_name == name


@pytest.mark.parametrize("gamma", [0, -1])
def test_gamma_must_be_positive(gamma: float) -> None:
    with pytest.raises(ValidationError, match="Input should be greater than 0"):
        Rbf(gamma=gamma)


@pytest.mark.parametrize("gamma", [np.nan, np.inf])
def test_gamma_must_be_finite(gamma: float) -> None:
    with pytest.raises(ValidationError, match="finite number|greater than 0"):
        Rbf(gamma=gamma)


def test_median_distance_of_zero() -> None:
    X = np.zeros((10, 2))
    X[0] = 1
    with pytest.raises(ContextError) as caught:
        Rbf(gamma=3).fit(Features.from_array(X))
    assert str(caught.value) == (
        "context 'rbf-3': the median squared distance between rows is 0 (more than half of all "
        "pairs coincide), so γ has no unit; set scale to 'absolute'."
    )
    P = dense(Rbf(gamma=3, scale="absolute").fit(Features.from_array(X)))
    np.testing.assert_allclose(P, by_hand(X, X, 3))


def test_rows_that_coincide_away_from_zero_have_median_zero() -> None:
    # Equal rows must have distance 0 exactly, not what rounding leaves of it.
    rng = np.random.default_rng(0)
    for _ in range(20):
        features = int(rng.integers(2, 60))
        X = np.tile(10 * rng.normal(size=features), (30, 1))
        X[0] += rng.normal(size=features)
        with pytest.raises(ContextError, match="median squared distance between rows is 0"):
            Rbf(gamma=3).fit(Features.from_array(X))


def test_too_many_references() -> None:
    with pytest.raises(ContextError, match="context 'rbf-3-m42': reference is 42, but the corpus"):
        Rbf(gamma=3, reference=42).fit(some_features())


def test_far_rows_do_not_cancel_the_digits_of_the_others() -> None:
    X = np.random.default_rng(3).normal(size=(60, 3))
    far = X.copy()
    far[7] = 1e9
    rbf = Rbf(gamma=1.0, scale="absolute")
    rows = rbf.fit(Features.from_array(far)).rows(0, 60)
    kept = np.delete(np.arange(60), 7)
    differences = X[kept][:, None, :] - X[kept][None, :, :]
    expected = np.exp(-np.sum(differences**2, axis=2))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows[np.ix_(kept, kept)], expected, atol=1e-12)
