"""`contexture serve` in a process of its own, for the tests of this folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, condition: Callable[[], Any], timeout: float = 120) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen within {timeout} s")


def environment(home: Path) -> dict[str, str]:
    """This environment without any Prefect settings but a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return {**kept, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}


def command(configuration: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "serve", str(configuration), *options]


@dataclass
class Served:
    process: subprocess.Popen[str]
    log: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def deployment(self) -> str:
        found = re.search(r"/v2/deployments/deployment/(\S+)", self.log.read_text())
        assert found is not None
        return found[1]

    def post(self, path: str, **body: Any) -> Any:
        response = httpx.post(f"{self.url}{path}", json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def start_run(self, **parameters: Any) -> str:
        path = f"/deployments/{self.deployment}/create_flow_run"
        return str(self.post(path, parameters=parameters)["id"])

    def state(self, run: str) -> dict[str, Any]:
        response = httpx.get(f"{self.url}/flow_runs/{run}", timeout=60)
        response.raise_for_status()
        return dict(response.json()["state"])

    def outcome(self, run: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log.read_text()
            state = self.state(run)
            return state if state["type"] in TERMINAL else None

        return dict(wait_for(f"the end of run {run}", ended))

    def processes(self) -> list[psutil.Process]:
        """Everything that was started, the process itself included."""
        whole = psutil.Process(self.process.pid)
        return [whole, *whole.children(recursive=True)]

    def stop(self, number: signal.Signals) -> int:
        """Send the signal to the whole foreground group, as a terminal does; its exit code."""
        os.killpg(self.process.pid, number)
        return self.process.wait(90)


@contextmanager
def serving(configuration: Path, home: Path, *options: str) -> Iterator[Served]:
    port = free_port()
    home.mkdir(exist_ok=True)
    log = home / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command(configuration, "--port", str(port), *options),
            env=environment(home),
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    served = Served(process, log, port)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "Ctrl-C" in log.read_text()

        wait_for("the start of the server", ready, 240)
        yield served
    finally:
        if process.poll() is None:
            for child in served.processes():
                child.kill()
            process.wait()
