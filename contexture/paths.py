"""Where a path in a configuration leads."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def resolve_path(path: str, base: Path) -> str:
    """Take a relative path from `base`; URLs and absolute paths stay.

    Parameters
    ----------
    path : str
        As it was written. ``~`` and ``~user`` at its start stand for a home folder; where there
        is no such user, they are part of a file's name.
    base : Path
        The folder of the configuration file.
    """
    if "://" in path:
        return path
    with suppress(ValueError):  # what no user could be called, such as a NUL
        path = os.path.expanduser(path)
    return str(base / path)
