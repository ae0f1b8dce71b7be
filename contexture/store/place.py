"""Where a store lies, or may be made, and what is said where that cannot be."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from contexture.errors import ContextureError, StorageFullError, StoreError


def exists(url: str) -> bool:
    """Whether something lies at the place of a store; raises as `entries`."""
    return bool(entries(url))


def entries(url: str) -> list[str]:
    """Names of what lies at the place of a store; none if there is nothing.

    Raises
    ------
    StoreError
        If no store can be there, or nobody can tell: a file, a folder that may not be read, a name
        that is too long, an unknown protocol, a package that is missing, a host that is silent.
    """
    with reachable(url):
        if "://" in url:
            filesystem, path = _remote(url)
            return _listed(filesystem, path)
        place = Path(url)
        try:
            # Not through Path.is_dir, which hides some errors, more of them in newer Pythons.
            folder = stat.S_ISDIR(os.stat(place).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return []
        if not folder:
            raise StoreError(f"'{url}' is a file, not a store; choose another path.")
        return os.listdir(place)


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
    with reachable(url):
        place = Path(url).absolute()
        while not place.exists():
            if place.is_symlink():
                raise StoreError(
                    f"the store '{url}' cannot be made, since '{place}' is a link to "
                    f"'{os.readlink(place)}', which is not there; make that folder, or choose "
                    "another path."
                )
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


def free_disk(url: str) -> int | None:
    """Free bytes where the store lies or will lie; None for a remote one.

    Raises
    ------
    StoreError
        If the place cannot be looked at.
    """
    if "://" in url:
        return None
    with reachable(url):
        place = Path(url).absolute()
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Say in a sentence why the place of a store cannot be looked at.

    Raises
    ------
    StoreError
        For whatever goes wrong inside.
    """
    try:
        yield
    except ContextureError:
        raise
    # Packages for remote stores raise what they like, some of it at the first word.
    except Exception as error:
        raise StoreError(_sentence(url, error)) from error


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


def _sentence(url: str, error: Exception) -> str:
    what = str(getattr(error, "strerror", None) or error) or type(error).__name__
    what = " ".join(what.split())
    if "://" in url:
        if isinstance(error, ImportError):
            return f"the store '{url}' needs a package that is not installed: {what}"
        if what.startswith("Protocol not known"):
            return (
                f"the store '{url}' cannot be reached: there is no protocol "
                f"'{url.split('://', 1)[0]}'; choose a folder, or a URL that fsspec knows, such as "
                "s3://bucket/name.zarr."
            )
        return (
            f"the store '{url}' cannot be reached ({what}); check its address, the network and "
            "your credentials, or choose another place."
        )
    if isinstance(error, PermissionError):
        return (
            f"the store '{url}' cannot be reached, since '{_closed(Path(url))}' may not be read; "
            "get the right to read it, or choose another path."
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return (
            f"there can be no store at '{url}', since that name is too long for the file system; "
            "choose a shorter one."
        )
    return f"the store '{url}' cannot be reached ({what}); check the path, or choose another one."


def _closed(place: Path) -> Path:
    """Find the outermost folder that may not be entered; the place itself if all may."""
    for folder in reversed(place.absolute().parents):
        if not os.access(folder, os.X_OK):
            return folder
    return place


def _remote(url: str) -> tuple[Any, str]:
    if url.split("://", 1)[0] == "memory":
        raise StoreError(
            f"the store '{url}' would live in the memory of one process, which workers do not "
            "share; choose a folder or another URL."
        )
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, str(path).rstrip("/")


def _listed(filesystem: Any, path: str) -> list[str]:
    filesystem.invalidate_cache()  # another process may have made it since
    try:
        found = [str(name) for name in filesystem.ls(path, detail=False)]
    except FileNotFoundError:
        return []
    # Some list the folder itself, as a name that ends in a slash.
    names = [name.rstrip("/") for name in found if name != f"{path}/"]
    return [name.rpartition("/")[2] for name in names]
