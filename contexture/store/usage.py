"""Disk that a run may count on: what is free, and what the store holds already."""

from __future__ import annotations

import os

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
    return Disk(free, measure(url, FEATURES)[0], sum(measure(url, group)[0] for group in CONTEXTS))


def measure(url: str, path: str) -> tuple[int, float]:
    """Bytes of all files of a group, and when the last of them was written; 0 if there is none.

    What another process removes meanwhile is passed over.
    """
    size, last = 0, 0.0
    for folder, _, names in os.walk(os.path.join(url, path)):
        for name in names:
            try:
                found = os.stat(os.path.join(folder, name))
            except OSError:
                continue
            size, last = size + found.st_size, max(last, found.st_mtime)
    return size, last
