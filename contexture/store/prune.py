"""What may go from a store that is audited again and again: old runs, and what only they needed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contexture.errors import ConfigurationError, StoreError
from contexture.store.base import Store, attributes_of
from contexture.store.neighbours import key_of_identity
from contexture.store.runs import list_runs, mark_interrupted

KEEP = 10
"""Complete runs that stay, unless something else is said."""

_IDENTITY = re.compile(r"(.+-[0-9a-f]{16})-")
"""The part of an operator's key that stands for its content, before how it was stored."""


@dataclass(frozen=True)
class Unused:
    """What may go.

    Attributes
    ----------
    runs : tuple of str
        Ids of runs, oldest first.
    paths : tuple of str
        Groups of the store, those of the runs first.
    """

    runs: tuple[str, ...]
    paths: tuple[str, ...]

    def size(self, store: Store) -> int | None:
        """Bytes on the disk; None for a store that is no folder."""
        if not store.is_local:
            return None
        walked = (os.walk(os.path.join(store.url, path)) for path in self.paths)
        return sum(
            os.path.getsize(os.path.join(folder, name))
            for each in walked
            for folder, _, names in each
            for name in names
        )


def find_unused(store: Store, keep: int = KEEP) -> Unused:
    """Find runs older than the newest complete ones, and what no run that stays was made of.

    While the newest run is not complete, what it was computing stays whole, so that the next one
    goes on from there.

    Parameters
    ----------
    store : Store
    keep : int
        Complete runs that stay, with all that are newer than the oldest of these.

    Raises
    ------
    ConfigurationError
        If ``keep`` is less than 1.
    StoreError
        If a run is under way.
    """
    if keep < 1:
        raise ConfigurationError(f"{keep} runs cannot be kept; keep at least 1.")
    mark_interrupted(store)
    runs = list_runs(store)
    for run, attributes in runs:
        if attributes.get("status") == "running":
            raise StoreError(
                f"run '{run}' on {attributes.get('host', 'another machine')} is under way; let it "
                f"end first. If it was killed there, remove 'runs/{run}' from the store."
            )
    complete = [run for run, attributes in runs if attributes.get("status") == "complete"]
    first = complete[-keep] if len(complete) > keep else (runs[0][0] if runs else "")
    gone = tuple(run for run, _ in runs if run < first)
    stay = [(run, attributes) for run, attributes in runs if run >= first]
    paths = [f"runs/{run}" for run in gone]
    paths += [f"results/{key}" for key in store.children("results") if _of(store, key) in gone]
    if stay and stay[-1][0] in complete:
        needed = _needed(store, stay)
        for kind in ("operators", "neighbours", "features"):
            paths += [
                path for name in store.children(kind) if (path := f"{kind}/{name}") not in needed
            ]
    return Unused(gone, tuple(paths))


def prune(store: Store, unused: Unused) -> None:
    """Remove what was found; wherever that is interrupted, the store is whole, and it can go on.

    Raises
    ------
    StoreError
        If the place cannot be written to.
    """
    # Entries of the index first: they must not point to what is gone.
    for path in sorted(unused.paths, key=lambda path: not path.startswith("results/")):
        store.remove(path)


def _of(store: Store, key: str) -> str:
    return str(attributes_of(store.find(f"results/{key}")).get("run", ""))


def _needed(store: Store, runs: Sequence[tuple[str, dict[str, Any]]]) -> set[str]:
    """Paths that contexts of these runs name."""
    needed = {f"features/{attributes['features']}" for _, attributes in runs
              if "features" in attributes}  # fmt: skip
    for run, _ in runs:
        for name in store.children(f"runs/{run}/contexts"):
            found = attributes_of(store.find(f"runs/{run}/contexts/{name}"))
            operator = str(found.get("operator", ""))
            needed |= {f"operators/{operator}", f"features/{found.get('features')}"}
            identity = _IDENTITY.match(operator)
            if identity is not None:
                keys = (key_of_identity(identity.group(1), ordered) for ordered in (False, True))
                needed |= {f"neighbours/{key}" for key in keys}
    return needed
