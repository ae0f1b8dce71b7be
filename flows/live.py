"""Live progress of a run on the terminal."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class OutputError(Exception):
    """What is printed cannot be written, for a full disk say."""


class Output(Console):
    """A console whose reader may go (a pager, head) without ending what is under way."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print.

        Raises
        ------
        OutputError
            If that cannot be written, though somebody may be reading.
        """
        try:
            super().print(*objects, **options)
        except OSError as error:
            if os.name == "nt" and error.errno == errno.EINVAL:  # a broken pipe, there
                self.on_broken_pipe()
                return
            raise OutputError(error.strerror) from error

    def on_broken_pipe(self) -> None:
        """Be silent from now on: there is nobody left to tell."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ProgressListener:
    """Shows every stage of a run as a line with a bar, or as plain lines without a terminal.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._lines: dict[str, Any] = {}
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
        )

    @contextmanager
    def shown(self) -> Iterator[ProgressListener]:
        """Show the stages until the context ends."""
        if not self._console.is_terminal:
            yield self
            return
        with self._bars:
            yield self

    def advance(self, stage: str, done: int, total: int) -> None:
        """Move the line of a stage."""
        # Where lines cannot be written the work goes on without them.
        with self._lock, suppress(OSError, OutputError):
            if not self._console.is_terminal:
                if done == total:
                    self._console.print(f"{stage}: done", markup=False, highlight=False)
                return
            if stage not in self._lines:
                self._lines[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._lines[stage], completed=done, total=total)
