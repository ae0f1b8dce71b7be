"""X, ids, weights and targets of a corpus in the store."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from contexture.corpus import Corpus, Target
from contexture.errors import StoreError
from contexture.features import Recipe
from contexture.inputs import Features, FloatArray
from contexture.store.base import Store, array_of, attributes_of
from contexture.store.columns import Piecewise, names_of, pieces, write_column, write_targets
from contexture.store.naming import as_labels, slug
from contexture.store.place import storage_errors


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

    If they are there already, because the same content was read before, perhaps from elsewhere,
    only the description of the source is written.

    The heavy part is a Dask graph: it runs on the client that is current, one partition at a
    time on each worker.

    Parameters
    ----------
    store : Store
    corpus : Corpus
    chunk_rows : int
        Rows of a chunk of X.
    force : bool
        Write them anew if they are there; they stay until the others are whole.
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
        _name_source(store, key, corpus)
        return key
    recipe = recipe or Recipe.fit(corpus)
    # Another run may be writing the same, and others read what is there: nothing of it goes before
    # all of the new one is written.
    with storage_errors(store.url), store.aside() as staged:
        attributes = _write(store, staged, corpus, recipe, chunk_rows)
        store.group(staged).attrs.update(attributes)
        store.put(staged, f"features/{key}", force)
    _name_source(store, key, corpus)  # those of another run may have been put in place before
    return key


def _name_source(store: Store, key: str, corpus: Corpus) -> None:
    """Say where the corpus lies that was read last: equal content may have come from elsewhere."""
    with storage_errors(store.url):
        attributes = store.group(f"features/{key}").attrs
        if attributes.get("source") != corpus.source:
            attributes["source"] = corpus.source


def _write(
    store: Store, path: str, corpus: Corpus, recipe: Recipe, chunk_rows: int
) -> dict[str, Any]:
    """Write all arrays; returns the attributes that make them count.

    Names that are row numbers, equal weights, and targets are never held whole.
    """
    n, D = corpus.rows, len(recipe.columns)
    ids = None if corpus.id_column is None else corpus.ids()
    weights, targets = corpus.weights(), corpus.target_columns()
    group = store.group(path)
    target_content = write_targets(group, corpus, targets)
    names, law = pieces(names_of(ids), n), pieces(lambda rows: weights[rows], n)
    labels: dict[str, Any] = {"feature": np.asarray(recipe.columns, dtype=object)}
    if ids is None or ids.dtype.kind in "iu":
        write_column(group, "sample", n, names, "int64", {})
    else:  # xarray knows how text is stored
        labels["sample"] = as_labels(ids)
    store.write(path, xr.Dataset(coords=labels), mode="a")
    described = {"long_name": "P_X", "range": "adds up to 1"}
    write_column(group, "input_weight", n, law, "float64", described)
    X = group.create_array(
        "X",
        shape=(n, D),
        chunks=(min(chunk_rows, n), D),
        dtype="float64",
        fill_value=np.nan,  # what was removed while it is read is refused, and no row of zeros
        dimension_names=("sample", "feature"),
        attributes={"long_name": "features", "units": "1"},
    )
    # Whole chunks only: Zarr loses data where two writers share one.
    rows: Any = recipe.transform(corpus)
    da.store(rows.rechunk((X.chunks[0], D)), X, lock=False)  # type: ignore[arg-type]
    return {
        "corpus_fingerprint": corpus.fingerprint,
        "fingerprint": _content(X, names_of(ids), weights),
        "targets_fingerprint": target_content,
        "equal_weights": corpus.weights_column is None,
        "recipe": recipe.to_dict(),
        "source": corpus.source,
        "partitions": [[p.rows, p.fingerprint] for p in corpus.partitions],
        "chunk_rows": chunk_rows,
        "targets": [t.name for t in targets],
        "complete": True,
    }


def count_observed(store: Store, key: str) -> tuple[int, ...]:
    """How many rows have a value of each target, in the order of the configuration."""
    return tuple(int(array.attrs["observed"]) for array in _targets(store, key))


def targets_key(store: Store, key: str) -> str:
    """Stands for the content of the targets."""
    return str(store.group(f"features/{key}").attrs["targets_fingerprint"])


def _content(X: Any, names: Piecewise, weights: FloatArray) -> str:
    """Stand for X, names and weights; piece by piece: as text, millions of names take gigabytes."""
    digest = hashlib.sha256()
    for start in range(0, X.shape[0], X.chunks[0]):
        digest.update(np.ascontiguousarray(X[start : start + X.chunks[0]]).tobytes())
    n = len(weights)
    for piece in pieces(lambda rows: weights[rows], n):
        digest.update(np.ascontiguousarray(piece).tobytes())
    for number, piece in enumerate(pieces(names, n)):
        text = "\n".join(map(str, piece.tolist()))
        digest.update((text if number == 0 else f"\n{text}").encode())
    return digest.hexdigest()[:16]


def read_features(store: Store, key: str) -> Features:
    """Open the features lazily: X stays on disk.

    Raises
    ------
    StoreError
        If they are not there, or not whole.
    """
    path = f"features/{key}"
    group = _whole(store, key)
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


def read_targets(store: Store, key: str, rows: slice = slice(None)) -> tuple[Target, ...]:
    """Read the targets of a corpus at some rows, in the order of the configuration."""
    targets = []
    for array in _targets(store, key):
        name, kind, levels = (array.attrs[which] for which in ("name", "kind", "levels"))
        values = np.asarray(array[rows], np.float64 if kind == "number" else np.int64)
        targets.append(Target(str(name), kind, values, tuple(levels)))
    return tuple(targets)


def _targets(store: Store, key: str) -> list[Any]:
    # Not through xarray: opening a dataset reads the names of all rows.
    group = _whole(store, key)
    names = attributes_of(group).get("targets", [])
    return [array_of(group, f"target {slug(str(name))}") for name in names]


def _whole(store: Store, key: str) -> zarr.Group:
    group = store.find(f"features/{key}")
    if group is None or not group.attrs.get("complete", False):
        raise StoreError(f"the store '{store.url}' holds no features '{key}'.")
    return group
