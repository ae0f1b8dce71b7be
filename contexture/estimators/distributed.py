"""Products of the normalised operator on Dask workers, each with its blocks.

Blocks come to the workers as results of jobs, so that Dask loads those of a lost worker again, and
no others. A product sends its vectors out once, asks one job of every thread for all the groups
of blocks that are there, and takes in sums of m × w. The diagonals of M = diag(p_X)^½ P
diag(p_A)^-½ next to the vectors are applied here; workers have P and their part of p_X.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import distributed
import numpy as np

from contexture.estimators import block_jobs
from contexture.estimators.block_holders import Holders
from contexture.estimators.block_layout import Layout
from contexture.estimators.cluster_jobs import Jobs, Progress
from contexture.estimators.components import NO_COLUMN, join, labels
from contexture.inputs import Floats, IntArray
from contexture.operator import ExpectationOperator


class DistributedProducts:
    """`products.Products` of an operator whose blocks are on the workers of a cluster.

    For one operator, number of groups and way to hold them, the results have the same bits on any
    number of workers, whichever of them die meanwhile. Where n < m a product with G = M Mᵀ goes
    over the blocks twice, and ``other`` gives Mᵀ V in one piece.

    Parameters
    ----------
    client : distributed.Client
        Not asynchronous.
    operator : ExpectationOperator
        Its blocks must be picklable, as those in a store are (which workers must reach), and, if
        they are not in a list or tuple, all but the last must have the same number of rows.
    hold : bool, optional
        Whether workers keep their blocks in memory, or read them for every product. By default
        they do if the blocks take less than 0.4 of the workers' memory.
    groups : int, optional
        Into how many groups the blocks go; also the largest number of threads that work at
        once. By default up to 64, fewer where adding up the m × w sums would outweigh the rest.
        It decides the rounding.
    patience : float
        Seconds to wait for a worker when there is none.
    progress : callable, optional
        See `cluster_jobs.Progress`.

    Raises
    ------
    InputError
        If the blocks do not add up to the rows of the operator, or ``groups`` is out of range.
    ClusterError
        From every method, if no worker is left or comes back, workers die again and again of
        the same job, or the scheduler is lost.
    """

    def __init__(
        self,
        client: distributed.Client,
        operator: ExpectationOperator,
        *,
        hold: bool | None = None,
        groups: int | None = None,
        patience: float = 60.0,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress or (lambda stage, done, total: None)
        self._layout = Layout.of(operator, groups)
        self._jobs = Jobs(client, patience)
        self._holders = Holders(self._jobs, operator.blocks, self._layout, hold, self._progress)
        self._root_x = np.sqrt(operator.input_weights)
        self._root_a = np.sqrt(operator.context_weights)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return len(self._root_x), len(self._root_a)

    def gram(self, V: Floats) -> Floats:
        """G V on the smaller side; see `products.Products`."""
        n, m = self.shape
        if m <= n:
            scale = self._root_a.astype(V.dtype)[:, None]
            result = self._sum("gram", V / scale)
            result /= scale
            return result
        scale = self._root_x.astype(V.dtype)[:, None]
        Z = self._sum("adjoint", V * scale)
        Z /= (self._root_a**2).astype(V.dtype)[:, None]
        result = np.concatenate([values for _, values in self._rows("gram", Z)])
        result *= scale
        return result

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else; see `products.Products`."""
        n, m = self.shape
        root_x, root_a = (root.astype(V.dtype)[:, None] for root in (self._root_x, self._root_a))
        if n < m:
            yield slice(0, m), self._sum("adjoint", V * root_x) / root_a
            return
        for rows, values in self._rows("other", V / root_a):
            yield rows, values * root_x[rows]

    def components(self) -> tuple[int, IntArray, IntArray]:
        """Find the connected components; see `components.components_of_blocks`."""
        n, m = self.shape
        forest, first = np.arange(m), np.full(n, NO_COLUMN, dtype=np.int64)
        total = len(self._layout)
        found = self._jobs.in_order(
            self._holders.groups,
            lambda groups, number: self._jobs.submit(block_jobs.joined, m, groups[number]),
            total,
        )
        for number, (of_rows, members, roots) in enumerate(found):
            first[self._layout.rows(self._layout.group(number)[0])] = of_rows
            join(forest, members, roots)
            self._progress("components", number + 1, total)
        return labels(forest, first)

    def close(self) -> None:
        """Let the workers forget the blocks; they are loaded again if they are needed."""
        self._holders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _sum(self, kind: block_jobs.Kind, V: Floats) -> Floats:
        """Pᵀ diag(p_X) P V or Pᵀ V."""
        total = len(self._layout)
        V = np.ascontiguousarray(V)

        def attempt() -> Floats:
            groups = self._holders.groups(V.dtype)
            vectors = self._jobs.send(V)
            shares = self._holders.shares(groups)
            jobs = [
                self._jobs.submit(
                    block_jobs.sums_of, kind, vectors, total, numbers,
                    *(groups[number] for number in numbers), worker=worker,
                )
                for worker, numbers in shares
            ]  # fmt: skip
            return self._jobs.total(
                jobs, total, lambda done, of: self._progress("gram", done * total // of, total)
            )

        return self._jobs.persist(attempt)

    def _rows(self, stage: str, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """P V for consecutive rows."""
        V = np.ascontiguousarray(V)
        steps = self._layout.steps()
        found = self._jobs.in_order(
            lambda: (self._holders.groups(V.dtype), self._jobs.send(V)),
            lambda ready, step: self._jobs.submit(
                block_jobs.rows_of, ready[1], steps[step][1], ready[0][steps[step][0]]
            ),
            len(steps),
        )
        for step, (values, (_, blocks)) in enumerate(zip(found, steps, strict=True)):
            yield self._layout.rows(blocks), values
            self._progress(stage, step + 1, len(steps))
