"""Progress of the stages of a run, told to whoever listens: the terminal, or the run's log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import distributed
from prefect.logging import get_run_logger

from contexture.errors import ClusterError
from contexture.jobs import PROGRESS_TOPIC


class Listener(Protocol):
    """Hears how far each stage is; called from several threads."""

    def advance(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of the stage are ready; the first call has 0."""
        ...


class LogListener:
    """Writes the beginning, every tenth and the end of a stage into the log of the run."""

    def advance(self, stage: str, done: int, total: int) -> None:
        """Log if a tenth was passed."""
        if done in (0, total) or (done * 10) // total > ((done - 1) * 10) // total:
            get_run_logger().info("%s: %d of %d", stage, done, total)


_listener: Listener = LogListener()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear the stages of runs in this process."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def tell(stage: str, done: int, total: int) -> None:
    """Tell the listener how far a stage is."""
    _listener.advance(stage, done, total)


def hear_workers(client: distributed.Client) -> None:
    """Tell the listener what workers tell of their long jobs, as long as the client is open."""

    def hear(event: tuple[float, Any]) -> None:
        stage, done, total = event[1]
        if done < total:  # the end is told by whoever waits for it
            tell(str(stage), int(done), int(total))

    client.subscribe_topic(PROGRESS_TOPIC, hear)


_LOST = (
    distributed.comm.CommClosedError,
    distributed.client.FutureCancelledError,
    distributed.client.FuturesCancelledError,
)


@contextmanager
def worker_errors(stage: str) -> Iterator[None]:
    """Say in a sentence what became of the workers, where Dask has a traceback.

    Raises
    ------
    ClusterError
        If a worker died again and again on a part, or the cluster was lost.
    """
    try:
        yield
    except distributed.scheduler.KilledWorker as error:
        raise ClusterError(
            f"{stage}: Dask workers died again and again on the same part, most likely for want "
            "of memory; give them more, or choose a smaller 'chunk_rows' or a 'reference'. What "
            "was done is kept."
        ) from error
    except _LOST as error:
        raise ClusterError(
            f"{stage}: the connection to the Dask cluster was lost; run the same command again, "
            "it goes on where it stopped."
        ) from error


PATIENCE = 60.0
"""Seconds for which there may be no worker at all before a stage is given up."""

_GLANCE = 5.0


def _some_done(stage: str, futures: Collection[distributed.Future]) -> set[distributed.Future]:
    """Wait until some are done; Dask itself would wait forever for workers that never come back."""
    client = next(iter(futures)).client
    alone = 0.0
    while True:
        try:
            return set(
                distributed.wait(list(futures), timeout=_GLANCE, return_when="FIRST_COMPLETED").done
            )
        except TimeoutError:
            there = client.scheduler_info(n_workers=-1)["workers"]
            alone = 0.0 if there else alone + _GLANCE
            if alone >= PATIENCE:
                raise ClusterError(
                    f"{stage}: all Dask workers are gone, and none came back within "
                    f"{PATIENCE:.0f} s; look at the memory that they may use, and run the same "
                    "command again, it goes on where it stopped."
                ) from None


def gather(stage: str, futures: Sequence[distributed.Future]) -> list[Any]:
    """Wait for Dask futures in the order in which they finish, telling the progress.

    Raises
    ------
    ClusterError
        As `worker_errors`.
    Exception
        What a part raised; the others are cancelled.
    """
    total, results = len(futures), []
    tell(stage, 0, total)
    left = set(futures)
    try:
        with worker_errors(stage):
            while left:
                for future in _some_done(stage, left):
                    left.remove(future)
                    results.append(future.result())
                    tell(stage, len(results), total)
    finally:
        for future in futures:
            if not future.done():
                future.cancel()
    return results
