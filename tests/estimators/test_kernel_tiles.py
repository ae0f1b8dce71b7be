from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from contexture.estimators import kernel_tiles
from contexture.estimators.kernel_tiles import LEAST_ROWS, SymmetricTiles
from contexture.estimators.single_products import Multiply
from contexture.inputs import FloatArray, Floats

LOGS = np.random.default_rng(5).uniform(-2.0, 1.0, (2, 3000))


def corpus(n: int, D: int, scale: float = 1.0) -> FloatArray:
    return np.random.default_rng([n, D]).normal(size=(n, D)) * scale / np.sqrt(D)


def dense(points: FloatArray, log_rows: FloatArray, log_columns: FloatArray) -> FloatArray:
    squares = np.sum((points[:, None] - points[None]) ** 2, axis=2)
    return np.asarray(np.exp(log_rows[:, None] - squares / 2 + log_columns))


def vectors(n: int, width: int = 5) -> Floats:
    return np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)


def compare(tiles: SymmetricTiles, M: FloatArray, multiply: Multiply = np.matmul) -> None:
    V = vectors(len(M))
    found = tiles.gram(V, multiply)
    expected = M.T @ (M @ V)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected, 2) < 1e-6 * np.linalg.norm(expected, 2)
    np.testing.assert_array_equal(found, tiles.gram(V, multiply))


@pytest.mark.parametrize("n", [LEAST_ROWS, 255, 257, 1025])
@pytest.mark.parametrize("D", [1, 16, 48, 49, 70])
@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_equal_the_dense_product(n: int, D: int, threads: int) -> None:
    points, logs = corpus(n, D, 2.0), LOGS[:, :n]
    tiles = SymmetricTiles(points, *logs, threads)
    assert tiles.possible
    compare(tiles, dense(points, *logs))


@pytest.mark.parametrize("scale", [0.0, 3.0, 30.0, 3000.0])
def test_points_near_to_and_far_from_the_centre(scale: float) -> None:
    """Groups of near points around centres that are ``scale`` widths from the middle."""
    centres = np.random.default_rng(0).normal(size=(6, 4)) * scale
    points = np.repeat(centres, 60, axis=0) + corpus(360, 4, 0.7)
    logs = LOGS[:, :360]
    compare(SymmetricTiles(points, *logs, 2), dense(points, *logs))


def test_a_few_outliers_leave_the_other_tiles_in_single_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, logs = corpus(1024, 4), LOGS[:, :1024]
    points[7] = 1e6
    seen: list[tuple[int, int]] = []

    def counted(X: Floats, A: Floats, result: Floats) -> None:
        seen.append(result.shape)
        genuine(X, A, result)

    genuine = kernel_tiles.gaussians
    monkeypatch.setattr(kernel_tiles, "gaussians", counted)
    tiles = SymmetricTiles(points, *logs, 1)
    tiles.gram(vectors(1024), np.matmul)
    blocks = 4
    assert len(seen) == 2 * (blocks * (blocks + 1) // 2 - blocks)
    compare(tiles, dense(points, *logs))


def test_scales_that_differ_by_many_powers() -> None:
    points = corpus(200, 3)
    logs = LOGS[:, :200] + np.array([[300.0], [-310.0]])  # what they have in common cancels
    tiles = SymmetricTiles(points, *logs, 1)
    assert tiles.possible
    compare(tiles, dense(points, *logs))
    logs[0, 0] -= 60.0
    assert not SymmetricTiles(points, *logs, 1).possible


@pytest.mark.parametrize(("most", "possible"), [(19.9, True), (20.1, False)])
def test_scales_as_far_apart_as_squares_in_single_precision_allow(
    most: float, possible: bool
) -> None:
    points, logs = corpus(200, 3), LOGS[:, :200].copy()
    logs[0, :2], logs[1, 2:4] = (-most, most), (-most, most)
    tiles = SymmetricTiles(points, *logs, 1)
    assert tiles.possible == possible
    if possible:
        compare(tiles, dense(points, *logs))


def test_scales_that_are_no_numbers() -> None:
    points, logs = corpus(200, 3), LOGS[:, :200].copy()
    logs[1, 5] = np.nan
    assert not SymmetricTiles(points, *logs, 1).possible


@pytest.mark.parametrize("threads", [1, 2, 64])
@pytest.mark.parametrize("n", [128, 255, 1025, 5000, 70_000])
def test_tiles_are_neither_large_nor_thin(n: int, threads: int) -> None:
    nothing = np.zeros(n)
    blocks = SymmetricTiles(nothing[:, None], nothing, nothing, threads).blocks
    rows = [block.stop - block.start for block in blocks]
    assert min(rows) >= LEAST_ROWS
    assert max(rows) <= 1024
    assert max(rows) - min(rows) <= 1
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, n)


def test_entries_are_at_most_one_however_far_points_are() -> None:
    points, nothing = corpus(300, 3), np.zeros(300)
    points[5:9] *= 1e9
    found = SymmetricTiles(points, nothing, nothing, 1).gram(np.ones((300, 1), "f"), np.matmul)
    assert np.all(found <= 300**2)


def test_too_few_rows_for_a_tile() -> None:
    points = corpus(LEAST_ROWS - 1, 3)
    assert not SymmetricTiles(points, *LOGS[:, : len(points)], 1).possible


def test_products_of_another_library() -> None:
    """It may return its results in any order, and must not be asked to write to a given array."""
    points, logs = corpus(300, 3), LOGS[:, :300]
    compare(
        SymmetricTiles(points, *logs, 2),
        dense(points, *logs),
        multiply=lambda A, B: np.asfortranarray(A @ B),
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_vectors_in_any_order_are_left_as_they_are(order: str) -> None:
    points, logs = corpus(300, 3), LOGS[:, :300]
    V = np.array(vectors(300), order=order)  # type: ignore[call-overload]
    before = V.copy()
    found = SymmetricTiles(points, *logs, 2).gram(V, np.matmul)
    np.testing.assert_array_equal(V, before)
    np.testing.assert_array_equal(found, SymmetricTiles(points, *logs, 2).gram(before, np.matmul))


def test_threads_that_are_not_equally_fast_give_the_same_bits() -> None:
    """The first tiles are done last."""
    points, logs, V = corpus(7000, 2), np.zeros((2, 7000)), vectors(7000)
    others = threading.Event()
    begun = itertools.count()

    def delayed(A: Floats, B: Floats) -> Floats:
        number = next(begun)
        if number == 0:
            assert others.wait(60)
        elif number == 20:
            others.set()
        return np.asarray(A @ B)

    one, three = (SymmetricTiles(points, *logs, threads) for threads in (1, 3))
    assert one.blocks == three.blocks
    expected = one.product(lambda A, B: np.asarray(A @ B), V)
    np.testing.assert_array_equal(three.product(delayed, V), expected)
    np.testing.assert_array_equal(three.product(np.matmul, V), one.product(np.matmul, V))


def test_progress_is_told_as_rows_of_one_pass() -> None:
    points, logs = corpus(3000, 2), LOGS
    seen: list[tuple[int, int]] = []
    SymmetricTiles(points, *logs, 1).gram(
        vectors(3000), np.matmul, lambda done, of: seen.append((done, of))
    )
    done = [rows for rows, _ in seen]
    assert done == sorted(done)
    assert 1500 in done
    assert seen[-1] == (3000, 3000)
    assert {of for _, of in seen} == {3000}
