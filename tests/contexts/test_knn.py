from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from contexture.contexts import Context, Features, Knn
from contexture.contexts.distances import nearest
from contexture.errors import ContextError
from tests.contexts.contract import ContextContract, dense, points, some_features


def by_hand(X: np.ndarray, R: np.ndarray, own: np.ndarray, k: int, include: bool) -> np.ndarray:
    """Sort every row's distances; ties go to the reference that comes first, self is first."""
    P = np.zeros((len(X), len(R)))
    for i, x in enumerate(X):
        keys = []
        for j, r in enumerate(R):
            if own[i] == j:
                if include:
                    keys.append((-1.0, j))
                continue
            keys.append((float(np.sum((x - r) ** 2)), j))
        for _, j in sorted(keys)[:k]:
            P[i, j] = 1 / k
    return P


class TestKnn(ContextContract):
    kind = "knn"

    def context(self, folder: Path) -> Context:
        return Knn(k=5)

    def siblings(self, folder: Path) -> list[Context]:
        return [
            Knn(k=6),
            Knn(fraction=0.1),
            Knn(k=5, include_self=False),
            Knn(k=5, reference=20),
            Knn(k=5, reference=21),
            Knn(fraction=0.3, reference=20, include_self=False),
        ]


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_against_sorting(k: int, include: bool) -> None:
    X = points(20)
    found = dense(Knn(k=k, include_self=include).fit(Features.from_array(X)), 6)
    np.testing.assert_array_equal(found, by_hand(X, X, np.arange(20), k, include))
    assert (np.diag(found) > 0).all() == include


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("step", [1, 4, 100])
def test_ties_and_duplicates_go_by_row_order(include: bool, step: int) -> None:
    # Whole numbers: distances tie exactly; several rows are the same.
    X = np.random.default_rng(0).integers(0, 3, size=(30, 2)).astype(float)
    found = dense(Knn(k=4, include_self=include).fit(Features.from_array(X)), step)
    np.testing.assert_array_equal(found, by_hand(X, X, np.arange(30), 4, include))


def test_all_rows_alike() -> None:
    X = np.array([[1.0], [1], [1], [1], [2]])  # but one: a constant X is refused
    found = dense(Knn(k=2).fit(Features.from_array(X)))
    expected = np.zeros((5, 5))
    for row, other in enumerate([1, 0, 0, 0, 0]):
        expected[row, [row, other]] = 0.5
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("include", [True, False])
def test_reference_sample(include: bool) -> None:
    features = some_features()
    evidence = Knn(k=3, reference=12, include_self=include).fit(features, 9)
    names = features.ids.tolist()
    positions = np.array([names.index(a) for a in evidence.context_values.tolist()])
    assert (np.diff(positions) > 0).all()
    X = points()
    own = np.array([positions.tolist().index(i) if i in positions else -1 for i in range(len(X))])
    np.testing.assert_array_equal(dense(evidence, 8), by_hand(X, X[positions], own, 3, include))


def test_reference_draws_differ_by_seed_and_are_nested_in_size() -> None:
    features = some_features()
    drawn = [set(Knn(k=3, reference=12).fit(features, s).context_values) for s in range(4)]
    assert len({frozenset(d) for d in drawn}) == 4
    larger = set(Knn(k=3, reference=20).fit(features, 0).context_values)
    assert drawn[0] < larger


def test_reference_of_all_rows_is_no_draw() -> None:
    features = some_features()
    a, b = Knn(k=3, reference=41).fit(features, 1), Knn(k=3).fit(features, 2)
    np.testing.assert_array_equal(dense(a), dense(b))


@pytest.mark.parametrize(
    ("fraction", "reference", "k"), [(0.1, None, 4), (0.001, None, 1), (0.5, 20, 10)]
)
def test_fraction_is_of_the_reference_set(fraction: float, reference: int | None, k: int) -> None:
    context = Knn(fraction=fraction, reference=reference)
    evidence = context.fit(some_features())
    assert evidence.details["k"] == context.neighbours(41) == k
    plain = Knn(k=k, reference=reference).fit(some_features())
    np.testing.assert_array_equal(dense(evidence), dense(plain))


def test_offset_does_not_change_neighbours() -> None:
    # Multiples of 2^-10 survive the offset exactly, so the neighbours must be the very same.
    X = np.round(points(200, 3) * 1024) / 1024
    a, b = (dense(Knn(k=7).fit(Features.from_array(X + offset))) for offset in (0.0, 1e8))
    np.testing.assert_array_equal(a, b)


def test_two_far_clusters_keep_their_digits() -> None:
    # Distances of 1e-3 within clusters that are 1e6 apart: lost in the matrix product.
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(size=(25, 3)), rng.normal(size=(25, 3))]) * 1e-3
    X[25:] += 1e6
    found = dense(Knn(k=4).fit(Features.from_array(X)), 9)
    np.testing.assert_array_equal(found, by_hand(X, X, np.arange(50), 4, True))


def test_nearest_gives_them_in_order() -> None:
    X, R = points(9), points(15, seed=8)
    found = nearest(X, R, 6, np.full(9, -1), True)
    squared = ((X[:, None] - R[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(found, np.argsort(squared, axis=1)[:, :6])


@pytest.mark.parametrize(
    ("context", "name"),
    [
        (Knn(k=30), "knn-30"),
        (Knn(fraction=0.01), "knn-0.01"),
        (Knn(k=3, include_self=False), "knn-3-no-self"),
        (Knn(k=3, reference=500), "knn-3-m500"),
        (Knn(fraction=0.25, include_self=False, reference=8), "knn-0.25-no-self-m8"),
    ],
)
def test_default_names(context: Knn, name: str) -> None:
    assert context.default_name == name


def test_default_names_tell_large_k_apart() -> None:
    assert Knn(k=1234567).default_name == "knn-1234567"
    assert Knn(k=1000001).default_name != Knn(k=1000000).default_name


@pytest.mark.parametrize(
    ("arguments", "given"), [({}, "neither was"), ({"k": 3, "fraction": 0.1}, "both were")]
)
def test_either_k_or_fraction(arguments: dict[str, float], given: str) -> None:
    with pytest.raises(ValidationError, match=f"give either k or fraction; {given} given"):
        Knn(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "greater than or equal to 1"),
        ({"fraction": 0}, "greater than 0"),
        ({"fraction": 1}, "less than 1"),
        ({"k": 1, "reference": 1}, "greater than or equal to 2"),
    ],
)
def test_bounds(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Knn(**arguments)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (
            Knn(k=41),
            "context 'knn-41': K is 41, but there are only 41 reference rows; choose K below 41.",
        ),
        (
            Knn(k=10, reference=10),
            "context 'knn-10-m10': K is 10, but there are only 10 reference rows; "
            "choose K below 10.",
        ),
        (
            Knn(fraction=0.999, name="mine"),
            "context 'mine': K is 41, but there are only 41 reference rows; choose K below 41.",
        ),
        (
            Knn(k=3, reference=42),
            "context 'knn-3-m42': reference is 42, but the corpus has only 41 rows; choose at "
            "most 41, or leave it out to use all rows.",
        ),
    ],
)
def test_messages(context: Knn, message: str) -> None:
    with pytest.raises(ContextError) as caught:
        context.extent(41, 4)
    assert str(caught.value) == message
    with pytest.raises(ContextError) as caught:
        context.fit(some_features())
    assert str(caught.value) == message


def test_k_may_be_one_less_than_the_rows() -> None:
    P = dense(Knn(k=40, include_self=False).fit(some_features()))
    np.testing.assert_array_equal(P, (1 - np.eye(41)) / 40)
