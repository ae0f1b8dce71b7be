"""Where the report of a store goes by itself, and whether it may go there."""

from __future__ import annotations

import os
from pathlib import Path

from contexture.errors import InputError

_MARKS = (
    b'<meta name="generator" content="contexture">',
    " – audit of contexts</title>".encode(),  # of reports that were written before the first
)
_HEAD = 4096
"""Bytes at the beginning of a report that hold a mark."""


def report_path(url: str) -> Path:
    """Where the report of a store goes: beside it, or into the working directory if remote."""
    name = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr") + ".html"
    return Path(name).absolute() if "://" in url else Path(url).absolute().parent / name


def require_report_place(url: str) -> None:
    """Refuse a store whose report could not be written, or would replace what is no report.

    Its place follows from the name of the store, so that nobody may have thought of it.

    Parameters
    ----------
    url : str
        Folder or fsspec URL of the store; it need not be there yet.

    Raises
    ------
    InputError
        Naming what is in the way.
    """
    path = report_path(url)
    try:
        fault = _fault(path, "://" in url)
    except OSError as error:
        fault = f"which cannot be looked at ({error.strerror}); choose another 'store'"
    if fault:
        raise InputError(f"the report of the store '{url}' goes to '{path}', {fault}.")


def _fault(path: Path, remote: bool) -> str:
    move = "move it, or give 'store' another name, which the report shares"
    if path.is_dir():
        return f"which is a folder; {move}"
    if path.exists() and not (path.is_file() and _is_report(path)):
        return f"and what lies there is no report of contexture's; {move}"
    place = path.parent
    while not place.exists():  # it will be made with the store
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        other = "start in another folder" if remote else "choose another 'store'"
        return f"and '{place}' may not be written; get the right to write there, or {other}"
    return ""


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return any(mark in head for mark in _MARKS)
