"""The Prefect API that is configured, or a server on this machine for as long as it is needed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from contexture.errors import ClusterError, ConfigurationError
from flows.process import answers, run_server, wait_until_ready
from flows.signals import StopRequests

HOST = "127.0.0.1"
"""Where the server listens: only this machine can reach it."""

EPHEMERAL = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
"""Settings by which Prefect's server does no more than a single process needs."""


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
        fault = _fault(configured)
        if fault is None:
            say(f"Using the Prefect server at {configured} (PREFECT_API_URL).")
            yield configured, lambda: True
            return
        if urlsplit(configured).hostname not in (HOST, "localhost", "::1"):
            raise ConfigurationError(fault)
    require_free(port)
    url = f"http://{HOST}:{port}/api"
    log = Path(get_current_settings().home) / "contexture-server.log"
    say(f"Starting a Prefect server at http://{HOST}:{port} ...")
    command = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
    settings = {
        "PREFECT_API_URL": url,  # the UI asks the API here, too
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "true",
    }
    with run_server(command, settings, log) as process:
        wait_until_ready(process, url, log, stop.arrived)
        yield url, lambda: process.poll() is None


def require_api() -> None:
    """Check that the Prefect API answers, where one is configured.

    Raises
    ------
    ConfigurationError
        If it does not.
    """
    configured = get_current_settings().api.url
    fault = None if configured is None else _fault(configured)
    if fault is not None:
        raise ConfigurationError(fault)


@contextmanager
def temporary_api() -> Iterator[Callable[[], None]]:
    """Use the Prefect API that is configured, or a server without UI until the end.

    It stands in for the one that Prefect would start by itself, which hears the Ctrl-C of the
    terminal and outlives a process that is killed. The history is the same.

    Yields
    ------
    ready : callable
        Waits until the API answers; there is time for other things before.

    Raises
    ------
    ClusterError
        If the API is lost meanwhile.
    ContextureError
        If the server does not come up.
    """
    configured = get_current_settings().api.url
    try:
        if configured is not None:
            yield lambda: None
            return
        url = f"http://{HOST}:{_free_port()}/api"
        log = Path(get_current_settings().home) / "contexture-audit-server.log"
        with (
            run_server(_uvicorn(url), EPHEMERAL, log) as process,
            temporary_settings({PREFECT_API_URL: url}),
        ):
            try:
                yield lambda: wait_until_ready(process, url, log)
            finally:
                # What Prefect would send when this process ends, nobody would take any more.
                for worker in (EventsWorker, APILogWorker):
                    worker.drain_all(timeout=5.0, at_exit=False)
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        raise ClusterError(
            f"the Prefect API was lost ({type(error).__name__}); run the same command again, it "
            "goes on where it stopped."
        ) from error


def _fault(url: str) -> str | None:
    """Say what is wrong with the Prefect API at ``url``, if anything."""
    patience = {PREFECT_API_REQUEST_TIMEOUT: 10.0, PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(patience), get_client(sync_client=True) as client:
        fault = client.api_healthcheck()
    if fault is None:
        return None
    status = f" (status {fault.response.status_code})" if hasattr(fault, "response") else ""
    unset = (
        "unset PREFECT_API_URL"
        if "PREFECT_API_URL" in os.environ
        else "run 'prefect config unset PREFECT_API_URL'"
    )
    return (
        f"no Prefect API answers at '{url}'{status}; start it, or {unset} to let this command "
        "start its own."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _uvicorn(url: str) -> list[str]:
    """Words by which Prefect, too, starts its server for a single process."""
    words = "uvicorn --factory prefect.server.api.server:create_app --log-level error"
    port = str(urlsplit(url).port)
    return [*words.split(), "--host", HOST, "--port", port, "--timeout-graceful-shutdown", "3"]


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
            if answers(f"http://{HOST}:{port}/api"):
                use = (
                    f"to use the Prefect server there set PREFECT_API_URL=http://{HOST}:{port}/api,"
                    " or choose another port by --port."
                )
            raise ConfigurationError(f"port {port} of {HOST} is already in use; {use}") from error
