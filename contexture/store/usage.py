"""Disk that a run may count on: what is free, and what operators of the store take already."""

from __future__ import annotations

from pathlib import Path

from contexture.store.place import free_disk

REUSED = "operators"
"""Group whose content serves again, or would be computed anew in its place."""


def usable_disk(url: str) -> int | None:
    """Bytes that a plan may count on where the store lies or will lie; None for a remote one.

    A run that goes on where another stopped, or one on the same data, needs no second room for what
    is there. Which of it that is, is known only when the corpus has been read.
    """
    free = free_disk(url)
    if free is None:
        return None
    files = (Path(url) / REUSED).rglob("*")
    return free + sum(_size(path) for path in files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # another run may have removed it meanwhile
        return 0
