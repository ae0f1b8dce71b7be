"""Row blocks of an operator that are never held: computed whenever they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from contexture.contexts.base import ConditionalRows, Rows

LAZY_ENTRIES = 4 * 2**20
"""Entries of a block that is computed when it is needed."""


class EvidenceBlocks(Sequence[Rows]):
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

    @overload
    def __getitem__(self, block: int) -> Rows: ...
    @overload
    def __getitem__(self, block: slice) -> Sequence[Rows]: ...
    def __getitem__(self, block: int | slice) -> Rows | Sequence[Rows]:
        if isinstance(block, slice):
            return [self[i] for i in range(*block.indices(len(self)))]
        if not 0 <= block < len(self):
            raise IndexError(block)
        start = block * self.height
        return self.evidence.rows(start, min(start + self.height, self.evidence.shape[0]))
