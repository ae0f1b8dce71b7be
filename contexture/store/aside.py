"""What is written aside before it is put in place, and what was removed and is being deleted.

Both lie under ``aside/``, each under a name of its own: a reader finds all of a group or nothing,
and what a kill leaves is in nobody's way until it is swept.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import fsspec

from contexture.store.place import entries

ASIDE = "aside"
"""Group of all that is written or deleted."""

_DAY = 24 * 60 * 60
_LONG = 7 * _DAY  # no group takes as long to write
_METADATA = "zarr.json"


def new_path() -> str:
    """Return a path that nobody else has; it says since when, and which process has it."""
    return f"{ASIDE}/{int(time.time()):x}-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def abandoned(url: str) -> list[str]:
    """Paths in a store of what nobody will come back to: it may be removed."""
    names = entries(f"{url.rstrip('/')}/{ASIDE}")
    found = [f"{ASIDE}/{name}" for name in names if _is_abandoned(name)]
    return found if "://" in url else [*found, *_orphaned_layouts(url)]


def _is_abandoned(name: str) -> bool:
    try:
        begun, machine, process, _ = name.split("-")
        age, owner = time.time() - int(begun, 16), int(process)
    except ValueError:
        return False  # not from `new_path`
    return age > _LONG or (machine != "" and machine == _machine() and not alive(owner))


@functools.cache
def _machine() -> str:
    """Stand for where the number of a process means something; empty if nobody can tell.

    Containers that share a store may have equal numbers for different processes, and so may a
    machine before and after it was started anew.
    """
    if not (boot() and namespace()):
        return ""
    return hashlib.sha256(f"{boot()}{namespace()}{socket.gethostname()}".encode()).hexdigest()[:8]


@functools.cache
def boot() -> str:
    """Stand for this machine since it was started; empty if nobody can tell."""
    try:
        found = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return ""
    return found.strip()


@functools.cache
def namespace() -> str:
    """Stand for the processes that this one can see, those of its container; empty if unknown."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _orphaned_layouts(url: str) -> list[str]:
    """Find layouts that earlier versions left beside operators when they were killed.

    Such a one has the name of an operator and eight hexadecimal digits. A key may look the same,
    but never does what is left without its last part name an operator.
    """
    found = []
    for pattern in ("operators/*", "operators/*/tasks-*"):
        for place in Path(url).glob(pattern):
            name, _, digits = place.name.rpartition("-")
            if not re.fullmatch("[0-9a-f]{8}", digits):
                continue
            # It was written within seconds, so that no run is at it a day later.
            old = time.time() - place.stat().st_mtime > _DAY
            if old and (place.parent / name / _METADATA).is_file():
                found.append(place.relative_to(url).as_posix())
    return found


def move_away(url: str, path: str) -> str | None:
    """Move a folder aside, with or without metadata in it; its path there, None if there is none.

    The group `ASIDE` must be there.
    """
    away = new_path()
    try:
        os.rename(os.path.join(url, path), os.path.join(url, away))
    except FileNotFoundError:
        return None
    return away


def put_in_place(url: str, staged: str, path: str, counts: Callable[[str], bool]) -> None:
    """Move a folder to its place in one step, unless something is there that counts.

    Remains of a kill that are in its way go; if another process puts a folder there at the same
    moment, the first one stays.

    Parameters
    ----------
    url, staged, path : str
        Folder of the store; where the folder is in it; where it is to be.
    counts : callable
        Whether what lies at a path is whole.
    """
    source, goal = os.path.join(url, staged), os.path.join(url, path)
    for last in (False, False, True):
        try:
            os.rename(source, goal)
            return
        except OSError as error:
            if counts(path):
                shutil.rmtree(source, ignore_errors=True)
                return
            if last or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        remains = move_away(url, path)
        if remains is None:
            continue
        if counts(remains):  # put there by another process since this one looked
            with suppress(OSError):
                os.rename(os.path.join(url, remains), goal)
        shutil.rmtree(os.path.join(url, remains), ignore_errors=True)


def lay_over(url: str, staged: str, path: str) -> None:
    """Put a group over what lies at a path, file by file, and its own metadata last.

    For groups whose content follows from their key, so that old and new chunks may stand side by
    side: at no moment does one lack that a reader may want, and processes that do this at the same
    time do the same. Remote stores know no other way.

    Parameters
    ----------
    url, staged, path : str
        As `put_in_place`, or a remote store.
    """
    filesystem, root = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    source, goal = f"{root}/{staged}", f"{root}/{path}"

    def below(place: str) -> set[str]:
        names = (str(name).partition(f"{place}/")[2] for name in filesystem.find(place))
        return {name for name in names if name}

    def move(names: list[str]) -> None:
        old, new = ([f"{place}/{name}" for name in names] for place in (source, goal))
        if not getattr(filesystem, "local_file", False):
            filesystem.copy(old, new)
            return
        for here, there in zip(old, new, strict=True):
            os.makedirs(os.path.dirname(there), exist_ok=True)
            os.replace(here, there)  # a copy would be seen half written

    names = below(source)
    move(sorted(names - {_METADATA}))
    for name in below(goal) - names:
        with suppress(FileNotFoundError):  # another process was faster
            filesystem.rm_file(f"{goal}/{name}")
        if getattr(filesystem, "local_file", False):
            with suppress(OSError):  # a folder that is not empty
                os.removedirs(os.path.dirname(f"{goal}/{name}"))
    move([_METADATA])
