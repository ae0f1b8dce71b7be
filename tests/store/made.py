"""A small corpus, and a finished run on it, made without Dask workers or Prefect."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import contexture as cx
from contexture.contexts import Context, Knn, Rbf
from contexture.corpus import Corpus
from contexture.store import Store
from contexture.store.features import features_key, read_features, read_targets, write_features
from contexture.store.neighbours import neighbours_key, write_neighbours
from contexture.store.operators import prepare_operator, read_operator, write_block
from contexture.store.results import result_key, write_context
from contexture.store.runs import begin_run, finish_run

ROWS = 37
SETTINGS = {"max_rank": 20, "beta": 1.0, "rank_kept": 6, "seed": 0}
CONTEXTS: tuple[Context, ...] = (Knn(k=5), Rbf(gamma=3))


def table() -> pd.DataFrame:
    """Two numbers (one with gaps), a category, ids, weights, a number and a class to predict."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=ROWS).round(5),
            "b": rng.normal(size=ROWS).round(5),
            "c": rng.choice(["red", "blue"], ROWS),
            "key": [f"row-{i:02d}" for i in range(ROWS)],
            "w": rng.uniform(0.5, 2, ROWS).round(4),
            "y": rng.normal(size=ROWS).round(5),
            "label": rng.choice(["cat", "dog", "eel"], ROWS),
        }
    )
    frame.loc[[4, 9], "b"] = np.nan
    frame.loc[[0, 5], "y"] = np.nan
    frame.loc[[7], "label"] = None
    return frame


def corpus(folder: Path, frame: pd.DataFrame | None = None, **roles: Any) -> Corpus:
    path = folder / "corpus.csv"
    (table() if frame is None else frame).to_csv(path, index=False)
    roles = {"id": "key", "weights": "w", "targets": ("y", "label")} | roles
    return cx.readers.Csv(path=str(path), **roles).open(400)


def operator(store: Store, key: str, context: Context, chunk_rows: int, seed: int = 0) -> str:
    """Write the missing blocks of an operator, in order."""
    features = read_features(store, key)
    name = f"{context.identity(features, seed)}-{chunk_rows}"
    evidence = context.fit(features, seed)
    for block in prepare_operator(store, name, evidence, chunk_rows):
        write_block(store, name, evidence, block)
    return name


def context_key(operator_key: str) -> str:
    return result_key(operator_key, SETTINGS)


def audit(
    folder: Path,
    source: Corpus | None = None,
    contexts: Sequence[Context] = CONTEXTS[:1],
    finish: str | None = "complete",
    chunk_rows: int = 10,
) -> tuple[Store, str]:
    """Audit the corpus in a store inside the folder; returns the store and the run's id."""
    source = corpus(folder) if source is None else source
    store = Store.create(str(folder / "store.zarr"))
    key = write_features(store, source, chunk_rows)
    assert key == features_key(source, chunk_rows)
    features, targets = read_features(store, key), read_targets(store, key)
    run = begin_run(
        store,
        {
            "name": "test",
            "configuration": SETTINGS,
            "contexts": [c.label for c in contexts],
            "targets": [t.name for t in targets],
            "rows": source.rows,
        },
    )
    for context in contexts:
        name = operator(store, key, context, chunk_rows)
        whole = read_operator(store, name)
        spectrum = cx.decompose_operator(whole, SETTINGS["max_rank"])
        evaluation = cx.evaluate(whole, spectrum, features.X, targets, 20, 1.0, 6)
        write_context(
            store, run, context.label, context.family, evaluation, features.ids,
            context_key(name), {"description": context.model_dump(mode="json")},
        )  # fmt: skip
    if finish:
        finish_run(store, run, finish, {})
    return store, run


def nights(folder: Path, count: int) -> tuple[Store, list[str]]:
    """Audit a corpus that changes every night, with the neighbours of its operator."""
    runs = []
    for night in range(count):
        frame = table()
        frame.loc[0, ["a", "b"]] = night, night  # scaling would take a mere shift out again
        source = corpus(folder, frame)
        store, run = audit(folder, source)
        key = features_key(source, 10)
        features = read_features(store, key)
        positions = np.zeros((ROWS, 5), np.int32)
        write_neighbours(store, neighbours_key(Knn(k=5), features, 0), positions, {})
        operator = f"{Knn(k=5).identity(features, 0)}-10"
        assert operator in store.children("operators")
        names = {"operator": operator, "features": key}
        store.group(f"runs/{run}/contexts/knn-5").attrs.update(names)
        # Each began an hour after what was written in the night before.
        started = dt.datetime.now(dt.UTC) + dt.timedelta(hours=night - count)
        store.group(f"runs/{run}").attrs["started"] = started.isoformat()
        for path in (Path(store.url) / kind for kind in ("features", "operators", "neighbours")):
            for each in path.rglob("*"):
                if each.stat().st_mtime > time.time() - 60:
                    os.utime(each, (started.timestamp() + 60,) * 2)
        runs.append(run)
    return store, runs
