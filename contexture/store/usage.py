"""Disk that a run may count on: what is free, and what operators of the store take already."""

from __future__ import annotations

import os
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
    # Folders that another run removes meanwhile are passed over.
    walked = os.walk(Path(url) / REUSED)
    return free + sum(_size(Path(folder) / name) for folder, _, names in walked for name in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
