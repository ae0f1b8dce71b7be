"""What a plan may use of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

MEMORY_SHARE = 0.75
"""Part of a worker's memory that a plan may fill; Dask begins to pause workers at 0.8."""

BASE_BYTES = 400 * 2**20
"""What a worker process takes before it holds any data: the interpreter, Dask, SciPy, Zarr, Numba
and compiled code. Measured: 374 MiB resident after a first small KNN and RBF context."""


class Disk(int):
    """Bytes that are free where a store lies, or taken by what a run may find there again.

    Parameters
    ----------
    free : int
    features, contexts : int
        What the features, and the operators and neighbours, of the store take: of this corpus or
        of another.
    """

    free: int
    features: int
    contexts: int

    def __new__(cls, free: int, features: int = 0, contexts: int = 0) -> Self:
        """Add them up."""
        found = super().__new__(cls, free + features + contexts)
        found.free, found.features, found.contexts = free, features, contexts
        return found

    def __reduce__(self) -> tuple[type[Self], tuple[int, int, int]]:
        return type(self), (self.free, self.features, self.contexts)

    def usable_for(self, features: int, contexts: int) -> int:
        """Bytes that a plan which stores so much may count on.

        No more than it stores can be there already: the rest belongs to other data, and stays.
        """
        return self.free + min(self.features, features) + min(self.contexts, contexts)


@dataclass(frozen=True)
class Machine:
    """What a plan may use.

    Attributes
    ----------
    memory : int
        Bytes that one Dask worker thread may use.
    disk : int, Disk or None
        Bytes where the store lies that are free, or hold what may serve again; None if unknown.
    threads : int
        Of a worker process, which share what the process itself takes.
    """

    memory: int
    disk: int | None = None
    threads: int = 1

    @property
    def room(self) -> int:
        """Bytes that a plan may fill with data in one worker thread."""
        return max(0, int(self.memory * MEMORY_SHARE) - BASE_BYTES // self.threads)

    def memory_for(self, room: int) -> int:
        """Bytes that a worker thread must have, so that there is that much room."""
        return int((room + BASE_BYTES // self.threads) / MEMORY_SHARE) + 1


def gibibytes(count: int) -> str:
    """Write a number of bytes for people: ``3.2 GiB``, ``40 MiB``."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count} B"
