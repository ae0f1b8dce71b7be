"""Where a store lies, or may be made: a folder of this machine, or a URL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import fsspec

from contexture.errors import StoreError


def exists(url: str) -> bool:
    """Whether something lies at the place of a store.

    Raises
    ------
    StoreError
        If no store can be there: a file, an unknown protocol, a package that is missing.
    """
    if "://" in url:
        filesystem, path = _remote(url)
        return bool(filesystem.exists(path) and filesystem.ls(path))
    place = Path(url)
    if place.is_file():
        raise StoreError(f"'{url}' is a file, not a store; choose another path.")
    return place.is_dir() and any(place.iterdir())


def require_place(url: str) -> None:
    """Refuse a place at which no store can be made; nothing is written.

    Parameters
    ----------
    url : str
        Folder or fsspec URL.

    Raises
    ------
    StoreError
        Naming what is in the way.
    """
    if exists(url) or "://" in url:
        return
    place = Path(url).absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise StoreError(
            f"the store '{url}' cannot be made, since '{place}' is a file; choose another path."
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(
            f"the store '{url}' cannot be made, since '{place}' may not be written; choose "
            "another path."
        )


def _remote(url: str) -> tuple[Any, str]:
    protocol = url.split("://", 1)[0]
    if protocol == "memory":
        raise StoreError(
            f"the store '{url}' would live in the memory of one process, which workers do not "
            "share; choose a folder or another URL."
        )
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise StoreError(
            f"the store '{url}' needs a package that is not installed: {error}"
        ) from error
    except ValueError as error:
        raise StoreError(
            f"the store '{url}' cannot be reached: there is no protocol '{protocol}'; choose a "
            "folder, or a URL that fsspec knows, such as s3://bucket/name.zarr."
        ) from error
    return filesystem, str(path)


def free_disk(url: str) -> int | None:
    """Free bytes where the store lies or will lie; None for a remote one."""
    if "://" in url:
        return None
    place = Path(url).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
