"""What was removed while it was read, by another run."""

from __future__ import annotations

import numpy as np
import zarr

from contexture.errors import StoreError


def require_written(group: zarr.Group, number: int) -> None:
    """Refuse a block that is no longer entered in the ledger ``done``, after it was read.

    Missing chunks read as zeros: nothing else would tell of a layout that took the place of the one
    that was opened.

    Raises
    ------
    StoreError
        If the group was removed, or laid out anew, since it was opened.
    """
    ledger = group.get("done")
    if not (isinstance(ledger, zarr.Array) and np.asarray(ledger[number])):
        raise removed(group.path)


def removed(path: str) -> StoreError:
    """Say that something went away while it was read."""
    return StoreError(
        f"'{path}' was removed while it was read, most likely by another run with --force; let "
        "that one end, and run the audit again."
    )
