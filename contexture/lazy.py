"""Blocks that are not held: read or computed whenever they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

from contexture.contexts.base import ConditionalRows, Rows

LAZY_ENTRIES = 4 * 2**20
"""Entries of a block that is computed when it is needed."""


Block = TypeVar("Block")


class LazyBlocks(Sequence[Block], ABC):
    """A sequence of blocks of which each is made anew."""

    @abstractmethod
    def block(self, number: int) -> Block:
        """Make one block; its number is within the length."""

    @overload
    def __getitem__(self, block: int) -> Block: ...
    @overload
    def __getitem__(self, block: slice) -> Sequence[Block]: ...
    def __getitem__(self, block: int | slice) -> Block | Sequence[Block]:
        if isinstance(block, slice):
            return [self[i] for i in range(*block.indices(len(self)))]
        if not 0 <= block < len(self):
            raise IndexError(block)
        return self.block(block)


class EvidenceBlocks(LazyBlocks[Rows]):
    """Row blocks of P that are computed anew whenever they are asked for.

    Parameters
    ----------
    evidence : ConditionalRows
        A fitted context.
    """

    def __init__(self, evidence: ConditionalRows) -> None:
        self.evidence = evidence
        n, m = evidence.shape
        entries = evidence.entries(0, n) if evidence.sparse else n * m
        self.height = max(1, LAZY_ENTRIES * n // max(1, entries))

    def __len__(self) -> int:
        return -(-self.evidence.shape[0] // self.height)

    def block(self, number: int) -> Rows:
        """Compute a block."""
        start = number * self.height
        return self.evidence.rows(start, min(start + self.height, self.evidence.shape[0]))
