"""A Zarr store of audits: opening, creating, naming. The layout is in docs/design.md, section 4."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self
from urllib.parse import quote

import numpy.typing as npt
import xarray as xr
import zarr
import zarr.errors

from contexture.errors import StorageFullError, StoreError
from contexture.store.place import exists, require_place

FORMAT = 1
"""Version of the layout; a store with a larger one is refused."""

_MARK = "contexture"


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
        """Open a store for writing, and make it if there is none.

        Raises
        ------
        StoreError
            If something else lies there, or it has a newer format.
        """
        store = cls(url)
        if not exists(url):
            with storage_errors(url):
                root = zarr.open_group(url, mode="w-", zarr_format=3)
                root.attrs.update({_MARK: {"format": FORMAT}})
            return store
        return cls.open(url)

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
        store = cls(url)
        try:
            mark = store.root.attrs.get(_MARK)
        except (zarr.errors.GroupNotFoundError, zarr.errors.NodeTypeValidationError, ValueError):
            mark = None
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
        """Return the group at ``path``, or None."""
        try:
            return zarr.open_group(self.url, path=path, mode="r+", use_consolidated=False)
        except (FileNotFoundError, zarr.errors.GroupNotFoundError):
            return None

    def children(self, path: str) -> list[str]:
        """Names of the groups directly under ``path``, sorted."""
        group = self.find(path)
        return [] if group is None else sorted(group.group_keys())

    def remove(self, path: str) -> None:
        """Delete a group and all below it; nothing happens if there is none."""
        parent, _, name = path.rpartition("/")
        group = self.find(parent) if parent else self.root
        if group is not None and name in group:
            del group[name]

    def put(self, staged: str, path: str) -> None:
        """Move a group that was laid out aside to its place, in one step.

        If another process was faster, its group stays and this one is dropped. Only a store of
        this machine can do that.
        """
        try:
            os.rename(os.path.join(self.url, staged), os.path.join(self.url, path))
        except OSError:
            if self.find(path) is None:
                raise
            self.remove(staged)

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
    if exists(url):
        Store.open(url)


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


def slug(name: str) -> str:
    """Turn any name into one path segment, another for another name; it is kept as an attribute."""
    quoted = quote(name, safe=" ")
    if len(quoted) > 200 or quoted != quoted.strip() or quoted == "zarr.json":
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        quoted = f"{quoted[:180].strip()}-{digest}"
    # '.', '..' and names with a leading dot or '__' mean something to file systems and to Zarr.
    return quoted if quoted and quoted[0] not in "._" else f"%{quoted}"


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Translate what the file system says about a full disk or forbidden folder.

    Raises
    ------
    StorageFullError
        If no space is left.
    StoreError
        If the place may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFullError(
                f"no space is left for the store '{url}'; free some and run the same command "
                "again, it goes on where it stopped."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"the store '{url}' cannot be written ({error.strerror}); choose another path."
            ) from error
        raise


def as_labels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return names as they are written: whole numbers as they are, all else as text."""
    return values if values.dtype.kind in "iu" else values.astype(object)


def plain(value: Any) -> Any:
    """Turn NumPy scalars into what JSON knows, in nested attributes."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
