"""Layouts of operators and moments beside another run, and after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contexture.contexts import Features, Knn
from contexture.errors import StoreError
from contexture.moments import Moments, halves_of
from contexture.store import Store
from contexture.store.moments import StoredMoments, prepare_moments, write_moments
from contexture.store.operators import prepare_operator, read_operator, write_block
from tests.store.far import PLACES, FarFileSystem, new_url

X = np.random.default_rng(5).normal(size=(33, 4))


class Killed(BaseException):
    """Stands for a signal; nothing is done after it."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.fixture(params=PLACES)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return Store.create(new_url(tmp_path, request.param))


def removed_halfway(store: Store, path: str, patch: pytest.MonkeyPatch) -> None:
    """As a kill in the middle of a removal did once, whose metadata went first."""
    if store.is_local:
        (Path(store.url) / path / "zarr.json").unlink()
        return
    with patch.context() as inner:
        inner.setattr(FarFileSystem, "rm", die)
        with pytest.raises(Killed):
            store.remove(path)


def test_an_operator_that_is_half_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = Knn(k=4).fit(Features.from_array(X))
    for _ in range(2):
        for block in prepare_operator(store, "op", evidence, 10):
            write_block(store, "op", evidence, block)
        assert read_operator(store, "op").shape == (33, 33)
        removed_halfway(store, "operators/op", monkeypatch)
        assert prepare_operator(store, "op", evidence, 10) == [0, 1, 2, 3]
    assert store.children("operators") == ["op"]


def test_moments_that_another_run_removed_meanwhile_are_no_zeros(store: Store) -> None:
    evidence = [Knn(k=4, reference=20).fit(Features.from_array(X))]
    weights = np.full(33, 1 / 33)

    def written() -> None:
        for block in prepare_moments(store, "m", evidence, 20):
            rows = slice(20 * block, min(20 * block + 20, 33))
            P, p = evidence[0].rows(rows.start, rows.stop), weights[rows]
            halves = [Moments.zero(20).add(P[half], p[half]) for half in halves_of(rows)]
            write_moments(store, "m", block, [halves])

    written()
    found = StoredMoments(store, "m")
    before = found.total(0)
    store.remove("operators/m")
    prepare_moments(store, "m", evidence, 20)
    with pytest.raises(StoreError, match="'operators/m' was removed while it was read, most"):
        found.total(0)
    written()
    np.testing.assert_array_equal(found.total(0).gram, before.gram)


def test_moments_that_are_half_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = [Knn(k=4, reference=20).fit(Features.from_array(X))]
    assert prepare_moments(store, "m", evidence, 20) == [0, 1]
    store.group("operators/m")["done"][0] = 1
    assert prepare_moments(store, "m", evidence, 20) == [1]
    removed_halfway(store, "operators/m", monkeypatch)
    assert prepare_moments(store, "m", evidence, 20) == [0, 1]


def test_an_operator_that_is_laid_out_while_another_run_does_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(str(tmp_path / "store.zarr"))
    evidence = Knn(k=4).fit(Features.from_array(X))
    put = Store.put

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(Store, "put", put)
        assert prepare_operator(store, "op", evidence, 10) == [0, 1, 2, 3]
        write_block(store, "op", evidence, 2)
        put(*arguments)

    monkeypatch.setattr(Store, "put", late)
    assert prepare_operator(store, "op", evidence, 10) == [0, 1, 3]
