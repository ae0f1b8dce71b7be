"""Results that are copied from one run to another."""

from __future__ import annotations

from contexture.store.base import Store, array_of
from contexture.store.place import storage_errors

COPY_BYTES = 32 * 2**20
"""Part of a large array that is in memory while it is copied."""


def copy_tasks(store: Store, source: tuple[str, str], goal: tuple[str, str]) -> None:
    """Copy the scores of the targets from a run and context to another run and context."""
    (old_run, old_name), (run, name) = source, goal
    for task in store.children(f"runs/{old_run}/tasks"):
        if old_name in store.children(f"runs/{old_run}/tasks/{task}"):
            copy_results(
                store, f"runs/{old_run}/tasks/{task}", old_name, f"runs/{run}/tasks/{task}", name
            )


def copy_results(store: Store, source: str, source_name: str, goal: str, name: str) -> None:
    """Copy the results ``source_name`` in one group to ``name`` in another; not yet complete."""
    data = store.read(f"{source}/{source_name}")
    # Functions on the inputs may be larger than memory: they are copied piece by piece.
    large = [array for array in ("left",) if array in data]
    data = data.drop_vars(large).load()
    data.attrs.pop("complete", None)
    for variable in data.variables.values():
        variable.encoding.clear()
    parent = store.find(source)
    if parent is None:  # what it says of the results would be lost
        raise ValueError(f"'{source}' cannot be read")
    with storage_errors(store.url):
        store.group(goal).attrs.update(dict(parent.attrs))
    store.write(f"{goal}/{name}", data)
    for array in large:
        _copy_array(store, f"{source}/{source_name}", f"{goal}/{name}", array)


def _copy_array(store: Store, source: str, goal: str, name: str) -> None:
    old = array_of(store.group(source), name)
    with storage_errors(store.url):
        new = store.group(goal).create_array(
            name,
            shape=old.shape,
            chunks=old.chunks,
            dtype=old.dtype,
            fill_value=old.fill_value,
            dimension_names=getattr(old.metadata, "dimension_names", None),
            attributes=dict(old.attrs),
        )
        rows = max(int(old.chunks[0]), COPY_BYTES // (8 * max(1, old.shape[1])))
        rows -= rows % int(old.chunks[0])  # whole chunks
        for start in range(0, old.shape[0], rows):
            new[start : start + rows] = old[start : start + rows]
