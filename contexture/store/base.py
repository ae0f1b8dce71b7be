"""A Zarr store of audits: made and opened, its groups put in place and removed.

The layout is in docs/design.md, section 4.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, Self

import xarray as xr
import zarr
import zarr.errors

from contexture.errors import StoreError
from contexture.store.aside import ASIDE, abandoned, lay_over, move_away, new_path, put_in_place
from contexture.store.place import entries, exists, reachable, require_place, storage_errors

FORMAT = 1
"""Version of the layout; a store with a larger one is refused."""

_MARK = "contexture"
_METADATA = "zarr.json"
_NOTHING = (zarr.errors.GroupNotFoundError, zarr.errors.NodeTypeValidationError)
_NO_GROUP = (*_NOTHING, ValueError)


class Store:
    """A place where audits are kept; cheap to make, picklable, opened anew on each worker.

    Parameters
    ----------
    url : str
        Folder or fsspec URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def create(cls, url: str) -> Self:
        """Open a store for writing, and make it if there is none; sweep what kills have left in it.

        Several processes may make the same one at once.

        Raises
        ------
        StoreError
            If something else lies there, or it has a newer format.
        """
        if _is_blank(url):
            mark: dict[str, Any] = {_MARK: {"format": FORMAT}}
            # The mark comes with the group: nobody sees one without the other.
            made_meanwhile = suppress(zarr.errors.ContainsGroupError)
            with reachable(url), storage_errors(url), made_meanwhile:
                root = zarr.open_group(
                    url, mode="a", zarr_format=3, attributes=mark, use_consolidated=False
                )
                if _MARK not in root.attrs:
                    root.attrs.update(mark)
        store = cls.open(url)
        store._sweep()
        return store

    @classmethod
    def open(cls, url: str) -> Self:
        """Open an existing store.

        Raises
        ------
        StoreError
            If there is none, or it is not one of ours, or it has a newer format.
        """
        if not exists(url):
            raise StoreError(
                f"there is no store at '{url}'; check the path, or make one with "
                "'contexture audit'."
            )
        store, mark = cls(url), None
        with reachable(url), suppress(*_NO_GROUP):
            mark = store.root.attrs.get(_MARK)
        if not isinstance(mark, dict) or not isinstance(mark.get("format"), int):
            raise StoreError(
                f"'{url}' is not a contexture store (it lacks the mark that one bears); "
                "choose another path."
            )
        if mark["format"] > FORMAT:
            raise StoreError(
                f"the store '{url}' has format {mark['format']}, but this version of contexture "
                f"reads up to {FORMAT}; install a newer one."
            )
        return store

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, which can be renamed, and not a URL."""
        return "://" not in self.url

    @property
    def root(self) -> zarr.Group:
        """The root group, for reading and writing."""
        # Consolidated metadata goes stale when another run is added, and then hides it.
        return zarr.open_group(self.url, mode="r+", use_consolidated=False)

    def group(self, path: str) -> zarr.Group:
        """Return the group at ``path``, making it if it does not exist.

        Several processes may ask for the same one at once: only one of them makes it.
        """
        try:
            return self.root.require_group(path)
        except zarr.errors.ContainsGroupError:
            # It was not there when Zarr looked, and was when it came to make it.
            return self.root.require_group(path)

    def find(self, path: str) -> zarr.Group | None:
        """Return the group at ``path``, or None; a damaged one counts as none."""
        try:
            return zarr.open_group(self.url, path=path, mode="r+", use_consolidated=False)
        except (FileNotFoundError, *_NO_GROUP):
            return None

    def children(self, path: str) -> list[str]:
        """Names of the groups directly under ``path``, damaged ones too, sorted."""
        if not self._is_group(path):
            return []
        # Zarr's own list ends at the first one that is damaged.
        names = entries(f"{self.url.rstrip('/')}/{path}")
        return sorted(n for n in names if n != _METADATA and self._is_group(f"{path}/{n}"))

    def _is_group(self, path: str) -> bool:
        """Whether a group is there, be it damaged."""
        try:
            zarr.open_group(self.url, path=path, mode="r", use_consolidated=False)
        except (FileNotFoundError, *_NOTHING, zarr.errors.ContainsArrayError):
            return False
        except ValueError:
            return True
        return True

    def remove(self, path: str) -> None:
        """Delete what lies at a path, if anything does, with or without metadata.

        Wherever the deletion is interrupted, nobody takes the rest for something that counts.
        """
        with storage_errors(self.url):
            if not self.is_local:
                group = self.find(path)
                if group is not None:
                    group.attrs.put({})
                del self.root[path]
            elif os.path.lexists(os.path.join(self.url, path)):
                self.group(ASIDE)
                away = move_away(self.url, path)
                if away is not None:
                    shutil.rmtree(os.path.join(self.url, away), ignore_errors=True)

    @contextmanager
    def aside(self) -> Iterator[str]:
        """Give a path at which to write a group before it is `put` in its place.

        What is still there in the end is removed, and swept by a later run after a kill.
        """
        path = new_path()
        try:
            yield path
        finally:
            with suppress(Exception):  # it must not hide what was raised inside
                self.remove(path)

    def put(self, staged: str, path: str, force: bool = False) -> None:
        """Move a group that was written aside to its place.

        Another run may be doing the same: the first one stays, and the others are dropped.

        Parameters
        ----------
        staged, path : str
            Where it is, and where it is to be.
        force : bool
            Replace one that is there; who reads it meanwhile finds no gap (`lay_over`).
        """
        there = self._counts(path)
        if not there or force:
            self.group(ASIDE)
            self.group(path.rpartition("/")[0])
            if there or not self.is_local:
                lay_over(self.url, staged, path)
            else:
                put_in_place(self.url, staged, path, self._counts)
        self.remove(staged)

    def _counts(self, path: str) -> bool:
        found = attributes_of(self.find(path))
        return bool(found.get("complete") or found.get("prepared"))

    def _sweep(self) -> None:
        # What is left aside is in nobody's way, so that no trouble with it may end a run.
        with suppress(Exception):
            for path in abandoned(self.url):
                self.remove(path)

    def write(self, path: str, data: xr.Dataset, mode: Literal["w", "a"] = "w") -> None:
        """Write a dataset as a group.

        Raises
        ------
        StorageFullError
            If there is no room.
        """
        with storage_errors(self.url):
            data.to_zarr(
                self.url,
                group=path,
                mode=mode,
                zarr_format=3,
                consolidated=False,
                write_empty_chunks=True,
            )

    def read(self, path: str) -> xr.Dataset:
        """Open the group at ``path`` as a lazy dataset."""
        data: xr.Dataset = xr.open_zarr(self.url, group=path, consolidated=False, chunks=None)
        return data


def require_store(url: str) -> None:
    """Refuse a place that holds something else, or at which no store can be made.

    Raises
    ------
    StoreError
        As `Store.open` and `require_place`.
    """
    require_place(url)
    if not _is_blank(url):
        Store.open(url)


def _is_blank(url: str) -> bool:
    """Whether nothing lies there, or only a group without any attribute.

    Such a group was left by an earlier version that was killed before it set its mark.
    """
    # Zarr writes a file beside its place, where another process may see it, or a kill leave it.
    names = [name for name in entries(url) if not re.fullmatch(r"zarr\.\w+\.partial", name)]
    if names != [_METADATA]:
        return not names
    with reachable(url), suppress(*_NO_GROUP):
        return not dict(Store(url).root.attrs)
    return False


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return the array of that name in a group.

    Raises
    ------
    StoreError
        If it is not there.
    """
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise StoreError(f"'{group.path}' has no array '{name}'; the store is damaged.")
    return found


def attributes_of(group: zarr.Group | None) -> dict[str, Any]:
    """Return the attributes of a group; none if there is no group."""
    return {} if group is None else dict(group.attrs)
