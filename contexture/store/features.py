"""X, ids, weights and targets of a corpus in the store."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from contexture.corpus import Corpus, Target
from contexture.errors import StoreError
from contexture.features import Recipe
from contexture.inputs import Features
from contexture.store.base import Store, array_of, as_labels, attributes_of, slug, storage_errors

COLUMN_ROWS = 1 << 17
"""Rows of a chunk of ids, weights and targets."""


def features_key(corpus: Corpus, chunk_rows: int) -> str:
    """Key of a corpus's features: its content, the roles of its columns, and the chunks."""
    parts = [1, corpus.fingerprint, chunk_rows]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def has_features(store: Store, key: str) -> bool:
    """Whether the features are there, whole."""
    group = store.find(f"features/{key}")
    return group is not None and bool(group.attrs.get("complete", False))


def write_features(
    store: Store,
    corpus: Corpus,
    chunk_rows: int,
    force: bool = False,
    recipe: Recipe | None = None,
) -> str:
    """Fit the recipe and write X in row chunks, with ids, weights and targets.

    The heavy part is a Dask graph: it runs on the client that is current, one partition at a
    time on each worker.

    Parameters
    ----------
    store : Store
    corpus : Corpus
    chunk_rows : int
        Rows of a chunk of X.
    force : bool
        Write them anew if they are there.
    recipe : Recipe, optional
        The corpus's own, if it was fitted before.

    Returns
    -------
    str
        The key under ``features/``.

    Raises
    ------
    CorpusError
        If the values cannot be used.
    StorageFullError
        If there is no room.
    """
    key = features_key(corpus, chunk_rows)
    if has_features(store, key) and not force:
        return key
    # Everything that may be refused comes before the first byte is written.
    ids, weights, targets = corpus.ids(), corpus.weights(), corpus.read_targets()
    recipe = recipe or Recipe.fit(corpus)
    path = f"features/{key}"
    n, D = corpus.rows, len(recipe.columns)
    with storage_errors(store.url):
        store.remove(path)
        group = store.group(path)
        X = group.create_array(
            "X",
            shape=(n, D),
            chunks=(min(chunk_rows, n), D),
            dtype="float64",
            dimension_names=("sample", "feature"),
            attributes={"long_name": "features", "units": "1"},
        )
        # Whole chunks only: Zarr loses data where two writers share one.
        rows: Any = recipe.transform(corpus)
        da.store(rows.rechunk((X.chunks[0], D)), X, lock=False)  # type: ignore[arg-type]
        store.write(path, _columns(recipe, ids, weights, targets), mode="a")
        group.attrs.update(
            {
                "corpus_fingerprint": corpus.fingerprint,
                "fingerprint": _content(X, ids, weights),
                "targets_fingerprint": _target_content(targets),
                "equal_weights": corpus.weights_column is None,
                "recipe": recipe.to_dict(),
                "source": corpus.source,
                "partitions": [[p.rows, p.fingerprint] for p in corpus.partitions],
                "chunk_rows": chunk_rows,
                "targets": [t.name for t in targets],
                "complete": True,
            }
        )
    return key


def _columns(
    recipe: Recipe, ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], targets: Any
) -> xr.Dataset:
    data = xr.Dataset(
        {"input_weight": ("sample", weights, {"long_name": "P_X", "range": "adds up to 1"})},
        coords={
            "sample": as_labels(ids),
            "feature": np.asarray(recipe.columns, dtype=object),
        },
    )
    for target in targets:
        attributes = {
            "name": target.name,
            "kind": target.kind,
            "levels": list(target.levels),
            "observed": _observed(target),
        }
        data[f"target {slug(target.name)}"] = ("sample", target.values, attributes)
    for variable in data.variables.values():
        if variable.dims == ("sample",):
            variable.encoding["chunks"] = (min(COLUMN_ROWS, len(weights)),)
    return data


def _content(X: Any, ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> str:
    digest = hashlib.sha256()
    for start in range(0, X.shape[0], X.chunks[0]):
        digest.update(np.ascontiguousarray(X[start : start + X.chunks[0]]).tobytes())
    # Piece by piece: as text, the names of millions of rows would take gigabytes.
    for start in range(0, len(weights), COLUMN_ROWS):
        digest.update(np.ascontiguousarray(weights[start : start + COLUMN_ROWS]).tobytes())
    for start in range(0, len(ids), COLUMN_ROWS):
        names = "\n".join(map(str, ids[start : start + COLUMN_ROWS].tolist()))
        digest.update((names if start == 0 else f"\n{names}").encode())
    return digest.hexdigest()[:16]


def count_observed(store: Store, key: str) -> tuple[int, ...]:
    """How many rows have a value of each target, in the order of the configuration."""
    data = store.read(f"features/{key}")
    names = attributes_of(store.find(f"features/{key}")).get("targets", [])
    return tuple(int(data[f"target {slug(str(name))}"].attrs["observed"]) for name in names)


def targets_key(store: Store, key: str) -> str:
    """Stands for the content of the targets."""
    return str(store.group(f"features/{key}").attrs["targets_fingerprint"])


def _target_content(targets: tuple[Target, ...]) -> str:
    digest = hashlib.sha256()
    for target in targets:
        digest.update(json.dumps([target.name, target.kind, target.levels]).encode())
        digest.update(np.ascontiguousarray(target.values).tobytes())
    return digest.hexdigest()[:16]


def read_features(store: Store, key: str) -> Features:
    """Open the features lazily: X stays on disk.

    Raises
    ------
    StoreError
        If they are not there, or not whole.
    """
    path = f"features/{key}"
    group = store.find(path)
    if group is None or not group.attrs.get("complete", False):
        raise StoreError(f"the store '{store.url}' holds no features '{key}'.")
    names, n = array_of(group, "sample"), int(array_of(group, "X").shape[0])
    equal = bool(group.attrs.get("equal_weights", False))
    return Features(
        X=array_of(group, "X"),
        # Text is read at once: what xarray makes of it is what contexts compare with.
        ids=StoredNames(names) if names.dtype.kind == "i" else store.read(path)["sample"].values,
        input_weights=(
            np.broadcast_to(1.0 / n, (n,))
            if equal
            else np.asarray(array_of(group, "input_weight")[:])
        ),
        fingerprint=str(group.attrs["fingerprint"]),
    )


class StoredNames:
    """Names of the rows in the store, read where they are needed.

    Parameters
    ----------
    array : zarr.Array of shape (n,)
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def __getitem__(self, key: Any, /) -> np.ndarray[Any, Any]:
        if isinstance(key, slice):
            return np.asarray(self._array[key])
        positions = np.asarray(key)
        # Chunk by chunk: a few positions among millions must not bring them all in.
        found = np.empty(len(positions), dtype=self._array.dtype)
        step = int(self._array.chunks[0])
        for chunk in np.unique(positions // step):
            inside = positions // step == chunk
            part = np.asarray(self._array[chunk * step : (chunk + 1) * step])
            found[inside] = part[positions[inside] - chunk * step]
        return found


def _observed(target: Target) -> int:
    seen = target.values == target.values if target.kind == "number" else target.values >= 0
    return int(np.sum(seen))


def read_targets(store: Store, key: str, rows: slice = slice(None)) -> tuple[Target, ...]:
    """Read the targets of a corpus at some rows, in the order of the configuration."""
    data = store.read(f"features/{key}").isel(sample=rows)
    group = store.find(f"features/{key}")
    names = [str(name) for name in attributes_of(group).get("targets", [])]
    targets = []
    for name in names:
        column = data[f"target {slug(name)}"]
        kind, levels = column.attrs["kind"], tuple(column.attrs["levels"])
        values = column.to_numpy()
        values = values.astype(np.float64 if kind == "number" else np.int64)
        targets.append(Target(name, kind, values, levels))
    return tuple(targets)
