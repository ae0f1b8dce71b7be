"""Disk that a run may count on: what is free, and what the store holds already."""

from __future__ import annotations

import os
from pathlib import Path

from contexture.estimators.machine import Disk
from contexture.store.place import free_disk

FEATURES, CONTEXTS = "features", ("operators", "neighbours")
"""Groups whose content may serve again, or would be computed anew in its place."""


def usable_disk(url: str) -> Disk | None:
    """Bytes that a plan may count on where the store lies or will lie; None for a remote one.

    A run that goes on where another stopped, or one on the same data, needs no second room for what
    is there. Which of it that is, is known only when the corpus has been read; a plan counts no
    more of it than what it stores itself (`Disk.usable_for`).
    """
    free = free_disk(url)
    if free is None:
        return None
    return Disk(free, _size(url, FEATURES), sum(_size(url, group) for group in CONTEXTS))


def _size(url: str, group: str) -> int:
    # Folders that another run removes meanwhile are passed over.
    walked = os.walk(Path(url) / group)
    return sum(_length(Path(folder) / name) for folder, _, names in walked for name in names)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
