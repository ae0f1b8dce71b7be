from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from contexture.contexts import ConditionalRows, Context, Features, Knn, MaskedKnn, MaskedRbf, Rbf
from contexture.contexts.masked import draw_masks
from contexture.errors import ContextError
from tests.contexts.contract import ContextContract, dense, points, some_features


class TestMaskedKnn(ContextContract):
    kind = "masked-knn"

    def context(self, folder: Path) -> Context:
        return MaskedKnn(k=5, n_masks=8)

    def siblings(self, folder: Path) -> list[Context]:
        return [
            MaskedKnn(k=5, n_masks=7),
            MaskedKnn(k=5, n_masks=8, hidden=0.6),
            MaskedKnn(k=6, n_masks=8),
            MaskedKnn(k=5, n_masks=8, include_self=False),
            MaskedKnn(k=5, n_masks=8, reference=15),
        ]


class TestMaskedRbf(ContextContract):
    kind = "masked-rbf"

    def context(self, folder: Path) -> Context:
        return MaskedRbf(gamma=2, n_masks=8)

    def siblings(self, folder: Path) -> list[Context]:
        return [
            MaskedRbf(gamma=2, n_masks=7),
            MaskedRbf(gamma=2, n_masks=8, hidden=0.6),
            MaskedRbf(gamma=2, n_masks=8, scale="absolute"),
            MaskedRbf(gamma=2, n_masks=8, reference=15),
        ]


@pytest.mark.parametrize("include", [True, False])
def test_masked_knn_is_the_mean_of_plain_ones(include: bool) -> None:
    X = points(24, 6)
    context = MaskedKnn(k=4, n_masks=9, hidden=0.4, include_self=include)
    found = dense(context.fit(Features.from_array(X), 5), 7)
    masks = draw_masks(6, 9, 0.4, 5, "")
    plain = [
        dense(Knn(k=4, include_self=include).fit(Features.from_array(X[:, kept]))) for kept in masks
    ]
    np.testing.assert_allclose(found, np.mean(plain, axis=0), rtol=0, atol=1e-15)


def test_masked_rbf_is_the_mean_of_plain_ones() -> None:
    X = points(24, 6)
    evidence = MaskedRbf(gamma=3, n_masks=9, hidden=0.4).fit(Features.from_array(X), 5)
    # One γ for all masks, in the unit of the distances on all features.
    gamma = evidence.details["scaled_gamma"]
    assert gamma == Rbf(gamma=3).fit(Features.from_array(X)).details["scaled_gamma"]
    plain = [
        dense(Rbf(gamma=gamma, scale="absolute").fit(Features.from_array(X[:, kept])))
        for kept in draw_masks(6, 9, 0.4, 5, "")
    ]
    np.testing.assert_allclose(dense(evidence), np.mean(plain, axis=0), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    ("features", "hidden", "count"),
    [(10, 0.2, 2), (2, 0.2, 1), (2, 0.9, 1), (3, 0.01, 1), (10, 0.999, 9), (7, 0.5, 4)],
)
def test_masks_hide_some_and_keep_some(features: int, hidden: float, count: int) -> None:
    masks = draw_masks(features, 20, hidden, 1, "")
    assert len(masks) == 20
    for kept in masks:
        assert len(kept) == features - count
        assert (np.diff(kept) > 0).all()
    assert set(np.concatenate(masks)) <= set(range(features))


def test_masks_follow_from_the_seed() -> None:
    a, b, c = (draw_masks(20, 5, 0.3, seed, "") for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    # More masks go on where fewer stopped.
    np.testing.assert_array_equal(draw_masks(20, 8, 0.3, 1, "")[:5], a)


def test_all_features_are_hidden_equally_often() -> None:
    kept = np.concatenate(draw_masks(10, 2000, 0.2, 3, ""))
    np.testing.assert_allclose(np.bincount(kept) / 2000, 0.8, atol=0.04)


def test_offset_changes_no_neighbour() -> None:
    X = np.round(points(60, 5) * 1024) / 1024
    context = MaskedKnn(k=5, n_masks=6)
    a, b = (dense(context.fit(Features.from_array(X + c))) for c in (0.0, 1e8))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("context", "name"),
    [(MaskedRbf(gamma=0.5), "masked-rbf-0.5"), (MaskedKnn(fraction=0.01), "masked-knn-0.01")],
)
def test_one_feature_cannot_be_masked(context: Context, name: str) -> None:
    message = (
        f"context '{name}': masks hide some features and keep others, but the corpus has only 1 "
        "feature; use the context without masks."
    )
    with pytest.raises(ContextError) as caught:
        context.fit(some_features(points(features=1)))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_masks": 0}, "greater than or equal to 1"),
        ({"hidden": 0}, "greater than 0"),
        ({"hidden": 1}, "less than 1"),
    ],
)
def test_bounds(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MaskedKnn(k=3, **arguments)


def test_default_names() -> None:
    assert MaskedRbf(gamma=10, reference=8).default_name == "masked-rbf-10-m8"
    assert MaskedKnn(k=30).default_name == "masked-knn-30"


def test_k_and_references_are_checked() -> None:
    with pytest.raises(ContextError, match="context 'masked-knn-41': K is 41, but there are only"):
        MaskedKnn(k=41).fit(some_features())
    with pytest.raises(ContextError, match="reference is 99, but the corpus has only 41 rows"):
        MaskedRbf(gamma=1, reference=99).fit(some_features())


def peak_of(evidence: ConditionalRows, stop: int) -> int:
    """Bytes held at most while a block is computed, the block itself included."""
    evidence.rows(0, 2)  # compiled before it is measured
    tracemalloc.start()
    try:
        evidence.rows(0, stop)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_block_is_not_held_once_a_mask() -> None:
    features = some_features(points(2000, 6))
    block = 1000 * 2000 * 8
    masked = peak_of(MaskedRbf(gamma=3, n_masks=12, scale="absolute").fit(features), 1000)
    plain = peak_of(Rbf(gamma=3, scale="absolute").fit(features), 1000)
    assert masked < 2 * block
    assert masked < 1.5 * plain


@pytest.mark.parametrize("k", [4, 250])  # fewer and more neighbours over all masks than rows
def test_a_sparse_block_is_not_held_once_a_mask(k: int) -> None:
    evidence = MaskedKnn(k=k, n_masks=12).fit(some_features(points(2000, 6)))
    assert peak_of(evidence, 1000) < 12 * evidence.entries(0, 1000) + 8 * 2**20
