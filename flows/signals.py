"""Ctrl-C and SIGTERM: who hears them, and when."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Start processes that do not hear the Ctrl-C of this one's terminal.

    A Ctrl-C in a terminal goes to every process of the foreground group. Processes and threads
    inherit that SIGINT is blocked; one that arrives here waits for the end of the context.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Left to itself, it starts with the first process, and unblocks SIGINT just before that.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let nobody stop this thread before the context ends.

    Whoever cancels a run may send a second signal while the run still notes that it was stopped.
    Blocking signals would not do: any other thread may take them, and Python then interrupts the
    main one all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals only ever interrupt the main thread
        return
    before = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class Stopped(Exception):
    """Somebody asked to stop before the server was ready."""


class StopRequests:
    """Hears Ctrl-C and SIGTERM without interrupting anybody, while used as a context.

    A Ctrl-C in a terminal goes to every process of the foreground group. SIGINT is blocked here,
    since processes inherit that: a run in progress is then cancelled in good order rather than
    interrupted wherever it stands.
    """

    def __enter__(self) -> StopRequests:
        self._arrived = False
        self._handlers = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        if hasattr(signal, "pthread_sigmask"):  # on Windows a run has a group of its own
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        return self

    def __exit__(self, *_: object) -> None:
        self.arrived()
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take SIGTERM back from whoever installed a handler meanwhile."""
        signal.signal(signal.SIGTERM, self._note)

    def arrived(self) -> bool:
        """Whether somebody asked to stop since the last call."""
        # Threads older than the block let SIGINT through to the handler; without any it waits.
        if hasattr(signal, "sigpending") and signal.SIGINT in signal.sigpending():
            signal.sigwait({signal.SIGINT})
            self._arrived = True
        arrived, self._arrived = self._arrived, False
        return arrived

    def _note(self, *_: Any) -> None:
        self._arrived = True
