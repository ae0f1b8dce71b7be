"""Runs in the store: begun, and finished.

``status`` is "running" until the very end, so that a killed run leaves nothing that could be
mistaken for a result.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from contexture.store.aside import alive, boot, namespace
from contexture.store.base import Store
from contexture.store.naming import plain
from contexture.store.place import storage_errors

DAMAGED = "damaged"
"""Status of a run whose own metadata cannot be read."""

_TIME = "%Y%m%dT%H%M%S"


def begin_run(store: Store, attributes: Mapping[str, Any]) -> str:
    """Open a new run and note the one before it as its parent.

    Runs of this machine whose process is gone are marked as interrupted.

    Parameters
    ----------
    store : Store
    attributes : mapping
        Configuration, versions, seed and the like; JSON-safe.

    Returns
    -------
    str
        The run's id: the time in UTC and a random tail, so that ids sort by time.
    """
    mark_interrupted(store)
    now = dt.datetime.now(dt.UTC)
    complete = [run for run in list_runs(store) if run[1].get("status") == "complete"]
    run = f"{now:{_TIME}}-{now.microsecond // 1000:03d}{secrets.token_hex(2)}"
    with storage_errors(store.url):
        store.group(f"runs/{run}").attrs.update(
            {
                **plain(dict(attributes)),
                "status": "running",
                "started": now.isoformat(timespec="seconds"),
                "parent": complete[-1][0] if complete else None,
                "host": socket.gethostname(),
                "boot": boot(),
                "namespace": namespace(),
                "process": os.getpid(),
            }
        )
    return run


def finish_run(store: Store, run: str, status: str, attributes: Mapping[str, Any]) -> None:
    """Close a run; its status is set together with the last attributes."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    with storage_errors(store.url):
        store.group(f"runs/{run}").attrs.update(
            {**plain(dict(attributes)), "finished": now, "status": status}
        )


def note(store: Store, run: str, attributes: Mapping[str, Any]) -> None:
    """Add attributes to a run under way."""
    with storage_errors(store.url):
        store.group(f"runs/{run}").attrs.update(plain(dict(attributes)))


def list_runs(store: Store) -> list[tuple[str, dict[str, Any]]]:
    """Ids and attributes of all runs, oldest first.

    One that is damaged has the status `DAMAGED`, so that it is in no other's way.
    """
    runs = []
    for name in store.children("runs"):
        group = store.find(f"runs/{name}")
        if group is not None:
            runs.append((name, dict(group.attrs)))
        elif name in store.children("runs"):  # another process may have removed it since
            runs.append((name, _damaged(name)))
    return runs


def _damaged(run: str) -> dict[str, Any]:
    """Say what is known of a damaged run: its id tells when it began."""
    attributes: dict[str, Any] = {"status": DAMAGED}
    with suppress(ValueError):
        began = dt.datetime.strptime(run.partition("-")[0], _TIME).replace(tzinfo=dt.UTC)
        attributes["started"] = began.isoformat(timespec="seconds")
    return attributes


def mark_interrupted(store: Store) -> None:
    """Mark runs that still say "running" although their process on this machine is gone."""
    for run, attributes in list_runs(store):
        if is_gone(attributes):
            store.group(f"runs/{run}").attrs["status"] = "interrupted"


def is_gone(attributes: Mapping[str, Any]) -> bool:
    """Whether a run says "running" although its process on this machine is gone.

    That of before the machine or the container was started anew is, whatever process has its number
    now.
    """
    if attributes.get("status") != "running" or attributes.get("host") != socket.gethostname():
        return False
    # Runs of earlier versions have the name of the machine alone.
    place = attributes.get("boot", boot()), attributes.get("namespace", namespace())
    process = attributes.get("process")
    return not (place == (boot(), namespace()) and isinstance(process, int) and alive(process))
