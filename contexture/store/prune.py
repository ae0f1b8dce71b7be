"""What may go from a store that is audited again and again: old runs, and what only they needed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contexture.errors import ConfigurationError, StoreError
from contexture.store.base import Store, attributes_of
from contexture.store.neighbours import key_of_identity
from contexture.store.runs import DAMAGED, is_gone, list_runs
from contexture.store.usage import measure

KEEP = 10
"""Complete runs of each name that stay, unless something else is said."""

_SHARED = ("operators", "neighbours", "features")
_IDENTITY = re.compile(r"(.+-[0-9a-f]{16})-")
"""The part of an operator's key that stands for its content, before how it was stored."""

Run = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Unused:
    """What may go.

    Attributes
    ----------
    runs : tuple of str
        Ids of runs, oldest first.
    paths : tuple of str
        Groups of the store, those of the runs first.
    size : int
        Bytes that they take on the disk.
    """

    runs: tuple[str, ...]
    paths: tuple[str, ...]
    size: int


def find_unused(store: Store, keep: int = KEEP) -> Unused:
    """Find old runs, and what no run that stays was made of; nothing is changed.

    Of the runs of one name the newest complete ones stay, and all that are newer than the oldest of
    these. What was written since the oldest run that stays began is left alone too, whoever may
    need it: one that was interrupted, and is to go on, or one that has not begun to say so.

    Parameters
    ----------
    store : Store
    keep : int
        Complete runs of each name that stay.

    Raises
    ------
    ConfigurationError
        If ``keep`` is less than 1.
    StoreError
        If the store is no folder, or a run is under way.
    """
    if keep < 1:
        raise ConfigurationError(f"{keep} runs cannot be kept; keep at least 1.")
    if not store.is_local:
        raise StoreError(
            f"'{store.url}' is no folder, and only those can be pruned while others may use them; "
            "remove old groups under 'runs/' with the tools of the place."
        )
    runs = list_runs(store)
    _require_rest(runs)
    gone = tuple(run for run, _ in _old(runs, keep))
    stay = [each for each in runs if each[0] not in gone]
    paths = [f"runs/{run}" for run in gone]
    paths += [f"results/{key}" for key in store.children("results") if _of(store, key) in gone]
    size = sum(measure(store.url, path)[0] for path in paths)
    needed = _needed(store, stay)
    since = min((_began(attributes) for _, attributes in stay), default=0.0)
    for kind in _SHARED:
        for name in store.children(kind):
            path = f"{kind}/{name}"
            if path in needed:
                continue
            own, last = measure(store.url, path)
            if last < since:
                paths.append(path)
                size += own
    return Unused(gone, tuple(paths), size)


def prune(store: Store, unused: Unused) -> None:
    """Remove what was found; wherever that is interrupted, the store is whole, and it can go on.

    Raises
    ------
    StoreError
        If a run began meanwhile, or the place cannot be written to.
    """
    # Entries of the index first: they must not point to what is gone.
    for path in sorted(unused.paths, key=lambda path: not path.startswith("results/")):
        _require_rest(list_runs(store))
        store.remove(path)


def _require_rest(runs: Sequence[Run]) -> None:
    for run, attributes in runs:
        if attributes.get("status") == "running" and not is_gone(attributes):
            raise StoreError(
                f"run '{run}' on {attributes.get('host', 'another machine')} is under way; let it "
                f"end first. If it was killed there, remove 'runs/{run}' from the store."
            )


def _old(runs: Sequence[Run], keep: int) -> list[Run]:
    """Find the runs that are older than those of their name that stay; damaged ones, than all."""
    complete: dict[str, list[str]] = {}
    for run, attributes in runs:
        if attributes.get("status") == "complete":
            complete.setdefault(str(attributes.get("name")), []).append(run)
    first = {name: ids[-keep] for name, ids in complete.items() if len(ids) > keep}
    oldest = min(first.values(), default="")  # a damaged run has no name

    def kept_from(attributes: Mapping[str, Any]) -> str:
        if attributes.get("status") == DAMAGED:
            return oldest
        return first.get(str(attributes.get("name")), "")

    return [each for each in runs if each[0] < kept_from(each[1])]


def _of(store: Store, key: str) -> str:
    return str(attributes_of(store.find(f"results/{key}")).get("run", ""))


def _began(attributes: dict[str, Any]) -> float:
    """Seconds since 1970; 0 if a run does not say when it began, so that nothing is older."""
    try:
        return dt.datetime.fromisoformat(str(attributes.get("started"))).timestamp()
    except ValueError:
        return 0.0


def _needed(store: Store, runs: Sequence[Run]) -> set[str]:
    """Paths that these runs and their contexts name."""
    needed = {f"features/{attributes.get('features')}" for _, attributes in runs}
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
