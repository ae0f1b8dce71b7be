"""A Prefect server as a process that ends with this one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from prefect.settings import get_current_settings

from contexture.errors import ContextureError
from flows import bound
from flows.signals import Stopped

STARTUP = 180.0
"""Seconds a server may take to answer; the first start makes the database."""

SHUTDOWN = 15.0
"""Seconds a server may take to close; an open browser tab would keep it for ever."""


@contextmanager
def run_server(
    command: list[str], settings: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server in a session of its own, and end it afterwards.

    Parameters
    ----------
    command : list of str
        A module of Python and its arguments.
    settings : dict
        Variables of its environment, besides the settings of this process.
    log : Path
        Takes what it says.

    Raises
    ------
    ContextureError
        If it cannot be started.
    """
    environment = {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **settings,
    }
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", bound.__file__, *command],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise ContextureError(f"cannot start the Prefect server: {error}") from error
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SHUTDOWN)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def wait_until_ready(
    process: subprocess.Popen[bytes],
    url: str,
    log: Path,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until the server answers.

    Raises
    ------
    ContextureError
        If it ends before, or takes too long.
    Stopped
        If somebody asked to stop meanwhile.
    """
    deadline = time.monotonic() + STARTUP
    while not answers(url):
        if stopped():
            raise Stopped
        if process.poll() is not None:
            raise ContextureError(
                f"the Prefect server ended with code {process.returncode}; why is in '{log}'."
            )
        if time.monotonic() > deadline:
            raise ContextureError(
                f"the Prefect server at {url} did not answer within {STARTUP:.0f} s; "
                f"what it says is in '{log}'."
            )
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether a Prefect API answers at ``url``."""
    try:
        return httpx.get(f"{url}/health", timeout=5.0).json() is True
    except (httpx.HTTPError, ValueError):
        return False
