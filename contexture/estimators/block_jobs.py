"""What the workers of `distributed.DistributedProducts` run: groups of blocks times vectors.

A *group* is a range of consecutive row blocks of P. The sum over groups is always taken along one
binary tree, whichever worker adds: a worker adds up the subtrees that are wholly its own and
hands over their sums by name, so that every sum comes out with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.errors import InputError
from contexture.estimators.components import join_rows
from contexture.inputs import FloatArray, Floats, IntArray

Node = tuple[int, int]
"""A node of the tree: groups ``first`` to ``last`` (not included)."""

Kind = Literal["gram", "adjoint"]


@dataclass(frozen=True)
class Group:
    """Consecutive blocks of P on a worker, held there or read for each product.

    Parameters
    ----------
    blocks : range
        Their numbers.
    starts : ndarray of shape (blocks + 1,)
        The row of the operator at which each block begins, and the end of the last.
    weights : ndarray of shape (r,) or float
        P_X of their rows; one number if all are equal.
    source : sequence of csr_array or ndarray
        All blocks of the operator; empty if the group holds its own.
    held : csr_array or ndarray of shape (r, m), optional
        The rows, in the type of the products.
    """

    blocks: range
    starts: IntArray
    weights: FloatArray | float
    source: Sequence[Rows] = ()
    held: Rows | None = None

    def read(self, dtype: np.dtype[Any], blocks: range | None = None) -> Iterator[tuple[int, Rows]]:
        """Give the rows in pieces, with the place in the operator of the first row of each.

        Parameters
        ----------
        dtype : dtype
            float32 or float64.
        blocks : range, optional
            Some of the blocks.
        """
        wanted = self.blocks if blocks is None else blocks
        if self.held is None:
            yield from self._pieces(dtype, wanted)
            return
        first = self.starts[wanted.start - self.blocks.start]
        last = self.starts[wanted.stop - self.blocks.start]
        whole = wanted == self.blocks
        yield (
            int(first),
            self.held if whole else self.held[first - self.starts[0] : last - self.starts[0]],
        )

    def _pieces(self, dtype: np.dtype[Any], blocks: range) -> Iterator[tuple[int, Rows]]:
        # A sparse product costs O(m) whatever its rows hold, so that blocks with fewer than m
        # entries are put together; never more than that, for the sake of memory.
        pieces: list[Rows] = []
        entries = 0
        first = at = int(self.starts[blocks.start - self.blocks.start])
        for number in blocks:
            rows = self.source[number]
            expected = int(np.diff(self.starts)[number - self.blocks.start])
            if rows.shape[0] != expected:
                raise InputError(
                    f"block {number} of the operator has {rows.shape[0]} rows where {expected} "
                    "were expected; all blocks but the last must have the same number of rows."
                )
            pieces.append(rows.astype(dtype, copy=False))
            at += rows.shape[0]
            entries += entries_of(rows)
            if entries >= rows.shape[1] or number == blocks[-1]:
                yield first, stack(pieces)
                pieces, entries, first = [], 0, at


def entries_of(rows: Rows) -> int:
    """Count the entries that are stored."""
    return int(rows.nnz) if isinstance(rows, sparse.csr_array) else rows.size


def stack(pieces: Sequence[Rows]) -> Rows:
    """Put row blocks together, all sparse or all dense."""
    if len(pieces) == 1:
        return pieces[0]
    if sparse.issparse(pieces[0]):
        return sparse.csr_array(sparse.vstack(pieces, format="csr"))
    return np.concatenate(pieces)


def handed_on(thing: object) -> object:
    """Bring blocks, the way to them, or coordinates to the workers; see `Jobs.keep`."""
    return thing


def load_group(
    source: Sequence[Rows],
    blocks: range,
    starts: IntArray,
    weights: FloatArray | float,
    dtype: np.dtype[Any] | None,
) -> Group:
    """Read a group in the type of the products, or, if that is None, note only where it is."""
    group = Group(blocks, starts, weights, source)
    if dtype is None:
        return group
    return Group(
        blocks, starts, weights, held=stack([rows for _, rows in group.read(dtype, blocks)])
    )


def sums_of(
    kind: Kind, vectors: Floats, total: int, numbers: Sequence[int], *groups: Group
) -> dict[Node, Floats]:
    """Multiply the vectors by groups, and add up what the tree lets this worker add.

    Parameters
    ----------
    kind : {"gram", "adjoint"}
        Pᵀ diag(p_X) P V, or Pᵀ V.
    vectors : ndarray of shape (m, w), or (n, w) for ``adjoint``
        V.
    total : int
        Number of groups of the operator.
    numbers : sequence of int
        Which groups these are.
    *groups : Group

    Returns
    -------
    dict of (int, int) to ndarray of shape (m, w)
    """
    by_number = dict(zip(numbers, groups, strict=True))
    return tree_sums(total, numbers, lambda number: _product(kind, vectors, by_number[number]))


def tree_sums(
    total: int, numbers: Sequence[int], leaf: Callable[[int], Floats]
) -> dict[Node, Floats]:
    """Add up what each of these groups gives, as far as the tree lets us; see `add_sums`."""
    return {node: _sum(node, leaf) for node in _cover((0, total), set(numbers))}


def add_sums(total: int, *sums: dict[Node, Floats]) -> dict[Node, Floats]:
    """Put together sums of several workers, and add up what the tree lets us add."""
    found = {node: value for one in sums for node, value in one.items()}
    covered = {number for node in found for number in range(*node)}
    return {node: _add(node, found) for node in _cover((0, total), covered)}


def _add(node: Node, found: dict[Node, Floats]) -> Floats:
    if node in found:
        return found[node]
    left, right = _halves(node)
    # What came over the network may be read-only, and may be wanted again.
    return _add(left, found) + _add(right, found)


def _sum(node: Node, leaf: Callable[[int], Floats]) -> Floats:
    if node[1] - node[0] == 1:
        return leaf(node[0])
    left, right = _halves(node)
    value = _sum(left, leaf)
    value += _sum(right, leaf)
    return value


def _cover(node: Node, numbers: set[int]) -> list[Node]:
    """List the largest subtrees that these groups fill."""
    have = sum(number in numbers for number in range(*node))
    if have == node[1] - node[0]:
        return [node]
    return [found for half in _halves(node) for found in _cover(half, numbers)] if have else []


def _halves(node: Node) -> tuple[Node, Node]:
    middle = (node[0] + node[1]) // 2
    return (node[0], middle), (middle, node[1])


def _product(kind: Kind, V: Floats, group: Group) -> Floats:
    value: Floats | None = None
    for first, rows in group.read(V.dtype):
        last = first + rows.shape[0]
        if kind == "adjoint":
            Y = V[first:last]
        else:
            Y = rows @ V
            Y *= _weights(group, first, last, V.dtype)
        part = rows.T @ Y
        value = part if value is None else np.add(value, part, out=value)
    return np.zeros_like(V) if value is None else value


def _weights(group: Group, first: int, last: int, dtype: np.dtype[Any]) -> Any:
    if not isinstance(group.weights, np.ndarray):
        return dtype.type(group.weights)
    start = group.starts[0]
    return group.weights[first - start : last - start, None].astype(dtype)


def rows_of(vectors: Floats, blocks: range, group: Group) -> Floats:
    """Give P V for the rows of some blocks of a group, shape (r, w)."""
    return np.concatenate([rows @ vectors for _, rows in group.read(vectors.dtype, blocks)])


def joined(columns: int, group: Group) -> tuple[IntArray, IntArray, IntArray]:
    """Say which context values a group joins.

    Returns
    -------
    ndarray of shape (r,), ndarray of shape (q,), ndarray of shape (q,)
        The first context value of each row; context values, and one that each is joined with.
    """
    forest = np.arange(columns)
    first = [join_rows(forest, rows) for _, rows in group.read(np.dtype(np.float64))]
    members = np.flatnonzero(forest != np.arange(columns))
    return np.concatenate(first), members, forest[members]
