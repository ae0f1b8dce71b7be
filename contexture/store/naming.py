"""Names and values as the store writes them."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

import numpy.typing as npt


def slug(name: str) -> str:
    """Turn any name into one path segment, another for another name; it is kept as an attribute."""
    quoted = quote(name, safe=" ")
    if len(quoted) > 200 or quoted != quoted.strip() or quoted == "zarr.json":
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        quoted = f"{quoted[:180].strip()}-{digest}"
    # '.', '..' and names with a leading dot or '__' mean something to file systems and to Zarr.
    return quoted if quoted and quoted[0] not in "._" else f"%{quoted}"


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
