"""Neighbours in the store: written once, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contexture.errors import StoreError
from contexture.order import Order
from contexture.store import Store, neighbours
from contexture.store.aside import ASIDE
from contexture.store.neighbours import has_neighbours, read_neighbours, write_neighbours
from tests.store.far import PLACES, new_url

ONE, TWO = (np.random.default_rng(i).integers(0, 9, (9, 2)).astype(np.int32) for i in (1, 2))


@pytest.fixture(params=PLACES)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return Store.create(new_url(tmp_path, request.param))


def found(store: Store) -> list[list[int]]:
    positions, details, _ = read_neighbours(store, "key")
    assert positions.shape == (9, 2)
    assert details == {"recall": 0.5}
    return np.asarray(positions[:]).tolist()


def write(store: Store, positions: np.ndarray[Any, Any]) -> None:
    write_neighbours(store, "key", positions, {"recall": np.float64(0.5)})


def test_round_trip(store: Store) -> None:
    assert not has_neighbours(store, "key")
    order = Order(np.arange(9)[::-1], np.roll(np.arange(9), 2))
    write_neighbours(store, "ordered", TWO, {}, order)
    write(store, ONE)
    assert has_neighbours(store, "key")
    assert found(store) == ONE.tolist()
    assert read_neighbours(store, "key")[2] is None
    positions, _, same = read_neighbours(store, "ordered")
    np.testing.assert_array_equal(positions[2:5], TWO[2:5])
    assert same is not None
    assert same.fingerprint == order.fingerprint
    assert store.children(ASIDE) == []


def test_unknown(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        read_neighbours(store, "key")
    assert str(caught.value) == f"the store '{store.url}' holds no neighbours 'key'."
    assert store.find("neighbours/key") is None


def test_those_that_are_whole_stay(store: Store) -> None:
    write(store, ONE)
    write(store, TWO)
    assert found(store) == ONE.tolist()


def test_those_that_another_run_wrote_meanwhile_stay(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Store.group

    def late(self: Store, path: str) -> Any:
        monkeypatch.undo()
        made = group(self, path)
        write(store, TWO)
        return made

    monkeypatch.setattr(Store, "group", late)
    write(store, ONE)
    assert found(store) == TWO.tolist()
    assert store.children(ASIDE) == []


def test_half_of_them_counts_not_and_is_in_nobodys_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "write_order", die)
        with pytest.raises(KeyboardInterrupt):
            write(store, ONE)
    assert not has_neighbours(store, "key")
    assert store.children(ASIDE) == []
    write(store, ONE)
    store.group("neighbours/key").attrs["complete"] = False  # as earlier versions left them
    with pytest.raises(StoreError, match="holds no neighbours 'key'"):
        read_neighbours(store, "key")
    write(store, TWO)
    assert found(store) == TWO.tolist()


def test_those_that_are_removed_are_not_read_as_zeros(store: Store) -> None:
    write(store, ONE)
    positions = read_neighbours(store, "key")[0]
    store.remove("neighbours/key")
    with pytest.raises(StoreError) as caught:
        positions[2:4]
    assert str(caught.value) == (
        "'neighbours/key/positions' was removed while it was read, most likely by another run "
        "with --force; let that one end, and run the audit again."
    )
