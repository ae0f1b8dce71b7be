from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import contexture as cx
from contexture.contexts import Knn
from contexture.errors import CorpusError, StoreError
from contexture.preflight import preflight
from contexture.store import Store
from contexture.store.features import (
    count_observed,
    features_key,
    has_features,
    read_features,
    read_targets,
    targets_key,
    write_features,
)
from tests.store.made import ROWS, corpus, table


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store.zarr"))


@pytest.mark.parametrize("chunk_rows", [1, 8, 37, 1000])
def test_round_trip(tmp_path: Path, store: Store, chunk_rows: int) -> None:
    source = corpus(tmp_path)
    key = write_features(store, source, chunk_rows)
    found = read_features(store, key)
    X = cx.Recipe.fit(source).transform(source).compute()
    np.testing.assert_allclose(found.X[:], X, rtol=0, atol=1e-15)
    assert found.shape == X.shape == (ROWS, 4)
    assert found.X.chunks == (min(chunk_rows, ROWS), 4)
    assert found.ids.tolist() == [f"row-{i:02d}" for i in range(ROWS)]
    weights = table()["w"].to_numpy()
    np.testing.assert_allclose(found.input_weights, weights / weights.sum(), rtol=1e-12)


def test_targets(tmp_path: Path, store: Store) -> None:
    source = corpus(tmp_path)
    found = read_targets(store, write_features(store, source, 8))
    assert [t.name for t in found] == ["y", "label"]
    for ours, theirs in zip(found, source.read_targets(), strict=True):
        assert (ours.kind, ours.levels) == (theirs.kind, theirs.levels)
        assert ours.values.dtype == theirs.values.dtype
        np.testing.assert_array_equal(ours.values, theirs.values)
    number, label = found
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(number.values)), [0, 5])
    assert label.levels == ("cat", "dog", "eel")
    np.testing.assert_array_equal(np.flatnonzero(label.values == -1), [7])
    expected = table()["label"].to_list()
    assert [label.levels[c] if c >= 0 else None for c in label.values] == [
        None if i == 7 else text for i, text in enumerate(expected)
    ]


def test_whole_numbers_as_ids(tmp_path: Path, store: Store) -> None:
    frame = table().drop(columns="key")
    key = write_features(store, corpus(tmp_path, frame, id=None, weights=None), 8)
    found = read_features(store, key)
    np.testing.assert_array_equal(found.names, np.arange(ROWS))
    assert found.names.dtype == np.int64
    np.testing.assert_allclose(found.input_weights, 1 / ROWS)


def test_the_key_is_stable_and_tells_contents_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    changed = table()
    changed.loc[3, "a"] += 1
    keys = [
        features_key(corpus(folders[0]), 8),
        features_key(corpus(folders[0]), 9),
        features_key(corpus(folders[2], changed), 8),
        features_key(corpus(folders[3], targets=("y",)), 8),
    ]
    assert len(set(keys)) == 4
    assert features_key(corpus(folders[1]), 8) == keys[0]  # the path does not matter


def test_features_are_written_once(tmp_path: Path, store: Store) -> None:
    source = corpus(tmp_path)
    key = write_features(store, source, 8)
    group = store.group(f"features/{key}")
    group.attrs["untouched"] = True
    assert write_features(store, source, 8) == key
    assert store.group(f"features/{key}").attrs["untouched"]


@pytest.mark.parametrize("written_meanwhile", [False, True])
def test_the_source_is_what_was_read_last(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, written_meanwhile: bool
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    here, there = corpus(tmp_path / "a"), corpus(tmp_path / "b")
    key = write_features(store, here, 8)
    if written_meanwhile:  # by another run, after this one had looked
        monkeypatch.setattr("contexture.store.features.has_features", lambda *_: False)
    assert write_features(store, there, 8) == key
    assert "/b/" in there.source
    assert store.group(f"features/{key}").attrs["source"] == there.source
    assert read_features(store, key).shape == (ROWS, 4)


def test_half_written_features_are_written_again(tmp_path: Path, store: Store) -> None:
    source = corpus(tmp_path)
    key = write_features(store, source, 8)
    before = read_features(store, key)
    group = store.group(f"features/{key}")
    group.attrs["complete"] = False
    group["X"][3] = 7.0
    assert not has_features(store, key)
    with pytest.raises(StoreError, match=f"holds no features '{key}'"):
        read_features(store, key)
    write_features(store, source, 8)
    np.testing.assert_array_equal(read_features(store, key).X[:], before.X[:])
    assert read_features(store, key).fingerprint == before.fingerprint


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path, store: Store) -> None:
    source = corpus(tmp_path)
    one, two = (read_features(store, write_features(store, source, c)) for c in (8, 50))
    assert one.fingerprint == two.fingerprint
    in_memory = cx.Features.from_array(one.X[:], one.ids, one.input_weights)
    X = cx.Recipe.fit(source).transform(source).compute()
    np.testing.assert_array_equal(in_memory.X, X)


def test_unknown_features(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        read_features(store, "abc")
    assert str(caught.value) == f"the store '{store.url}' holds no features 'abc'."


def test_what_is_refused_leaves_nothing(tmp_path: Path, store: Store) -> None:
    frame = pd.concat([table(), table().iloc[:1]])
    with pytest.raises(CorpusError, match="'row-00' 2 times"):
        write_features(store, corpus(tmp_path, frame), 8)
    assert store.children("features") == []


HOSTILE = ["../../x", "a/b", "<b>", ".", "zarr.json", "x " + "y" * 300, "y ", "長" * 80]


def with_targets(names: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    frame = table().drop(columns=["y", "label"])
    for place, name in enumerate(names):
        frame[name] = np.arange(ROWS) * (place + 1.0)
    return frame, {"targets": tuple(names)}


def test_hostile_names_of_targets_stay_inside(tmp_path: Path, store: Store) -> None:
    frame, roles = with_targets(HOSTILE)
    key = write_features(store, corpus(tmp_path, frame, **roles), 8)
    found = read_targets(store, key)
    assert [t.name for t in found] == HOSTILE
    for place, target in enumerate(found):
        np.testing.assert_array_equal(target.values, np.arange(ROWS) * (place + 1.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus.csv", "store.zarr"]


def test_nothing_is_left_of_a_target_that_cannot_be_used(tmp_path: Path, store: Store) -> None:
    frame = table()
    frame.loc[30, "y"] = np.inf
    source = corpus(tmp_path, frame)
    with pytest.raises(CorpusError, match="target 'y' is infinite in row 30"):
        write_features(store, source, 8)
    assert store.find(f"features/{features_key(source, 8)}") is None


def test_features_that_are_there_outlive_a_corpus_that_cannot_be_read(
    tmp_path: Path, store: Store
) -> None:
    source = corpus(tmp_path)
    key = write_features(store, source, 8)
    before = read_features(store, key).fingerprint
    path = tmp_path / "corpus.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("cat", "cow", 1), encoding="utf-8")
    (tmp_path / "other").mkdir()
    recipe = cx.Recipe.fit(corpus(tmp_path / "other"))
    with pytest.raises(CorpusError, match="changed"):
        write_features(store, source, 8, force=True, recipe=recipe)
    assert read_features(store, key).fingerprint == before


@pytest.mark.parametrize("read", [read_targets, count_observed])
def test_targets_of_unknown_features(store: Store, read: Any) -> None:
    with pytest.raises(StoreError, match="holds no features 'abc'"):
        read(store, "abc")
    assert store.find("features/abc") is None


def test_partitions_and_pieces_change_nothing(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(tmp_path)
    assert len(source.partitions) > 2
    key = write_features(store, source, 8)
    before, targets = read_features(store, key), read_targets(store, key)
    content = targets_key(store, key)
    monkeypatch.setattr("contexture.store.columns.COLUMN_ROWS", 7)
    write_features(store, source, 8, force=True)
    after = read_features(store, key)
    assert (after.fingerprint, targets_key(store, key)) == (before.fingerprint, content)
    for now, then in zip(read_targets(store, key), targets, strict=True):
        np.testing.assert_array_equal(now.values, then.values)
    assert count_observed(store, key) == (ROWS - 2, ROWS - 1)


def test_row_numbers_and_targets_are_never_held_whole(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(tmp_path, table().drop(columns="key"), id=None, weights=None)
    for whole in ("ids", "read_targets"):
        monkeypatch.setattr(type(source), whole, lambda self: pytest.fail("all rows at once"))
    found = preflight(source, [Knn(k=5)])
    key = write_features(store, found.corpus, 8, recipe=found.recipe)
    np.testing.assert_array_equal(read_features(store, key).names, np.arange(ROWS))


def test_some_rows_of_the_targets_do_not_bring_in_the_names(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write_features(store, corpus(tmp_path), 8)
    whole = read_targets(store, key)
    monkeypatch.setattr(Store, "read", lambda *_: pytest.fail("opened with all its names"))
    for part, target in zip(read_targets(store, key, slice(5, 9)), whole, strict=True):
        np.testing.assert_array_equal(part.values, target.values[5:9])
        assert (part.kind, part.levels) == (target.kind, target.levels)
