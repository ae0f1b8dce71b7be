from __future__ import annotations

import hashlib
import re
import time
import tracemalloc

import numpy as np
import pytest

from contexture.contexts import KINDS, Context, Features
from contexture.contexts.reference import draw_reference, read_rows
from contexture.errors import ContextureError, InputError
from contexture.inputs import normalise


def test_every_kind_has_a_contract_test() -> None:
    from pathlib import Path

    text = "".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py"))
    for kind in KINDS:
        assert f'kind = "{kind.model_fields["kind"].default}"' in text


def test_kinds_are_told_apart_by_kind() -> None:
    kinds = [kind.model_fields["kind"].default for kind in KINDS]
    assert len(set(kinds)) == len(KINDS)
    assert all(issubclass(kind, Context) for kind in KINDS)


def test_features() -> None:
    features = Features.from_array([[1, 2], [3, 4], [5, 6]])
    assert features.shape == (3, 2)
    np.testing.assert_array_equal(features.ids, [0, 1, 2])
    np.testing.assert_allclose(features.input_weights, 1 / 3)
    same = Features.from_array(np.array([[1.0, 2], [3, 4], [5, 6]]), input_weights=[2, 2, 2])
    assert same.fingerprint == features.fingerprint
    weighed = Features.from_array([[1.0], [2.0]], input_weights=[1, 3])
    np.testing.assert_allclose(weighed.input_weights, [0.25, 0.75])


@pytest.mark.parametrize(
    "X", [[[1.0, np.nan]], [[np.inf, 0.0]], np.zeros((0, 3)), np.zeros((3, 0)), [1.0, 2.0]]
)
def test_bad_matrices(X: object) -> None:
    with pytest.raises(ContextureError):
        Features.from_array(X)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ids", "message"), [([1, 2], "2|shape"), ([1, 1, 2], "more than once")])
def test_ids_must_name_the_rows(ids: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Features.from_array(np.eye(3), ids=ids)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"weights have shape (2,); one number a row is needed: (3,)."),
        ([1, 0, 1], "the weight of row 1 is 0.0; weights must be positive and finite."),
        ([1, 1, np.nan], "the weight of row 2 is nan; weights must be positive and finite."),
        ([np.inf, 1, 1], "the weight of row 0 is inf; weights must be positive and finite."),
        ([1, -1, 1], "the weight of row 1 is -1.0; weights must be positive and finite."),
        (
            [1e100, 1e-49, 1e-51],
            "the weight of row 2 is 1e-51 and the largest is 1e+100: too far apart to be told "
            "from 0; leave such rows out.",
        ),
    ],
)
def test_bad_weights(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        normalise(weights, 3)


def test_large_weights_do_not_overflow() -> None:
    np.testing.assert_allclose(normalise([1e308, 1e308, 1e308], 3), 1 / 3)


def test_references_are_drawn_uniformly() -> None:
    counts = np.zeros(30)
    for seed in range(600):
        counts[draw_reference(np.arange(30), 10, seed)] += 1
    # Binomial(600, 1/3): standard deviation 11.5.
    assert np.abs(counts - 200).max() < 50


def test_appended_rows_change_the_draw_little() -> None:
    before = set(draw_reference(np.arange(1000), 100, 3))
    after = set(draw_reference(np.arange(1010), 100, 3))
    assert len(before - after) <= 6


def test_text_and_numbers_name_rows_alike() -> None:
    a = draw_reference(np.arange(50), 10, 1)
    b = draw_reference(np.array([str(i) for i in range(50)]), 10, 1)
    np.testing.assert_array_equal(a, b)


def test_read_rows_in_chunks() -> None:
    X = np.arange(40.0).reshape(20, 2)
    positions = np.array([0, 3, 4, 19])
    for chunk in (1, 3, 4, 100):
        np.testing.assert_array_equal(read_rows(X, positions, chunk), X[positions])


def test_rows_are_read_into_one_array() -> None:
    X = np.arange(2e6).reshape(20_000, 100)
    tracemalloc.start()
    try:
        rows = read_rows(X, np.arange(20_000), 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(rows, X)
    assert peak < 1.3 * X.nbytes


def test_a_repeated_id_is_found_in_little_time() -> None:
    ids = [*range(30_000), 29_999]
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        Features.from_array(np.arange(30_001.0)[:, None], ids=ids)
    assert str(caught.value) == "the id '29999' is given more than once; ids must be unique."
    assert time.perf_counter() - start < 5


def test_the_fingerprint_is_of_the_content_without_a_copy() -> None:
    X = np.random.default_rng(0).normal(size=(1000, 2000))
    tracemalloc.start()
    try:
        features = Features.from_array(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    digest = hashlib.sha256(X.tobytes())
    digest.update(np.full(1000, 1e-3).tobytes())
    digest.update("\n".join(map(str, range(1000))).encode())
    assert features.fingerprint == digest.hexdigest()[:16]
    assert Features.from_array(np.asfortranarray(X)).fingerprint == features.fingerprint
    assert peak < 0.2 * X.nbytes


def test_masked_ids_and_weights() -> None:
    ids = np.ma.array([1, 2, 3], mask=[False, True, True])
    with pytest.raises(InputError) as caught:
        Features.from_array(np.eye(3), ids=ids)
    assert str(caught.value) == "the id of row 1 is masked; every row needs an id."
    weights = np.ma.array([1.0, 2, 3], mask=[False, False, True])
    with pytest.raises(InputError) as caught:
        Features.from_array(np.eye(3), input_weights=weights)
    assert str(caught.value) == (
        "the weight of row 2 is masked; weights must be positive and finite."
    )
    whole = np.ma.array([1.0, 2, 3], mask=False)
    np.testing.assert_allclose(normalise(whole, 3), [1 / 6, 1 / 3, 1 / 2])
