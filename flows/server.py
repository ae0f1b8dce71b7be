"""A Prefect server on this machine, for as long as it is needed; and the wish to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from contexture.errors import ConfigurationError, ContextureError

HOST = "127.0.0.1"
"""Where the server listens: only this machine can reach it."""

STARTUP = 180.0
"""Seconds a server may take to answer; the first start makes the database."""

SHUTDOWN = 15.0
"""Seconds a server may take to close; an open browser tab would keep it for ever."""


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


@contextmanager
def prefect_api(
    port: int, stop: StopRequests, say: Callable[[str], None]
) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Use the Prefect API that is configured and answers, or start a server until the end.

    Parameters
    ----------
    port : int
        Where a server that has to be started listens.
    stop : StopRequests
    say : callable
        Takes the lines that a person should read.

    Yields
    ------
    url : str
        Address of the API.
    alive : callable
        Whether the server runs still, as far as this process can know.

    Raises
    ------
    ConfigurationError
        If ``PREFECT_API_URL`` names another machine that does not answer, or the port is taken.
    ContextureError
        If the server does not come up.
    Stopped
        If somebody asked to stop meanwhile.
    """
    configured = get_current_settings().api.url
    if configured is not None:
        with get_client(sync_client=True) as client:
            fault = client.api_healthcheck()
        if fault is None:
            say(f"Using the Prefect server at {configured} (PREFECT_API_URL).")
            yield configured, lambda: True
            return
        if urlsplit(configured).hostname not in (HOST, "localhost", "::1"):
            raise ConfigurationError(
                f"no Prefect server answers at '{configured}' (PREFECT_API_URL); start it, or "
                "unset PREFECT_API_URL to start one on this machine."
            )
    require_free(port)
    url = f"http://{HOST}:{port}/api"
    log = Path(get_current_settings().home) / "contexture-server.log"
    say(f"Starting a Prefect server at http://{HOST}:{port} ...")
    with _server(port, url, log) as process:
        _wait(process, url, log, stop)
        yield url, lambda: process.poll() is None


def require_free(port: int) -> None:
    """Check that a server can listen on the port.

    Raises
    ------
    ConfigurationError
        If it is no port, or taken.
    """
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"the port is {port}; it must lie between 1 and 65535.")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise ConfigurationError(
                f"port {port} needs administrator rights; choose another one by --port."
            ) from error
        except OSError as error:
            use = "choose another one by --port."
            if _answers(f"http://{HOST}:{port}/api"):
                use = (
                    f"to use the Prefect server there set PREFECT_API_URL=http://{HOST}:{port}/api,"
                    " or choose another port by --port."
                )
            raise ConfigurationError(f"port {port} of {HOST} is already in use; {use}") from error


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0).json() is True
    except (httpx.HTTPError, ValueError):
        return False


@contextmanager
def _server(port: int, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``prefect server start`` in a session of its own, and end it afterwards."""
    environment = {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        "PREFECT_API_URL": url,  # the UI asks the API here, too
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SHUTDOWN)
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, stop: StopRequests) -> None:
    deadline = time.monotonic() + STARTUP
    while not _answers(url):
        if stop.arrived():
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
        time.sleep(0.25)
