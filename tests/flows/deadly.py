"""Workers that kill themselves (SIGKILL) in the middle of what they are told to die in."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import cloudpickle
import distributed

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import tests

STANDING = "every worker"
"""What stands in an order that is not used up by whoever obeys it."""


@dataclass(frozen=True)
class Phase:
    """Where a worker dies.

    Attributes
    ----------
    place : str
        The module and the name in it that is called.
    calls : int
        Calls that the worker makes before the one that kills it.
    matches : callable
        Tells from the arguments whether a call counts.
    """

    place: str
    calls: int = 0
    matches: Callable[..., bool] = lambda *_: True


def replace(path: str, change: Callable[[Any], Any]) -> None:
    """Put something else in the place of what has this path."""
    parts, module = path.split("."), None
    for end in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        break
    owner = reduce(getattr, parts[end:-1], module)
    setattr(owner, parts[-1], change(getattr(owner, parts[-1])))


class Deadly(distributed.WorkerPlugin):
    """Kills its worker in the phase that a file in a folder is called after."""

    name = "deadly"

    def __init__(
        self, folder: Path, phases: Mapping[str, Phase], constants: Mapping[str, Any]
    ) -> None:
        self.folder, self.phases, self.constants = folder, phases, constants

    def setup(self, worker: distributed.Worker) -> None:
        for path, value in self.constants.items():
            replace(path, lambda _, value=value: value)
        for name, phase in self.phases.items():
            replace(phase.place, lambda call, name=name: self.wrapped(call, name))

    def wrapped(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Give the function that dies at the right call."""
        phase, order = self.phases[name], self.folder / name
        left = phase.calls

        def instead(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if order.exists() and phase.matches(*arguments):
                left -= 1
                if left < 0 and take(order):
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return instead


def take(order: Path) -> bool:
    """Take an order to die, which only one worker can have, but for one that stands."""
    try:
        if order.read_text() == STANDING:
            return True
        order.rename(order.with_suffix(f".{os.getpid()}"))
    except FileNotFoundError:
        return False
    return True
