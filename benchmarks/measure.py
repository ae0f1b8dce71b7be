"""Measure one piece of work in a fresh process: time, CPU, and memory above its input.

The parent starts a process, watches it, and kills it at its limit. The child loads its input,
sets the kernel's high-water mark of its memory back, works, and prints what was measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

MEBIBYTE = 2**20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

T = TypeVar("T")


class Unavailable(Exception):
    """A method that cannot run here; the message says why."""


def measured(
    module: str,
    arguments: Sequence[str],
    limit: float,
    threads: int | None = None,
    room: float = 0.85,
) -> dict[str, Any]:
    """Run ``python -m module arguments`` and return what its child printed.

    Parameters
    ----------
    module : str
        Its ``main`` calls `watched` around the work, and `report` at its end.
    arguments : sequence of str
    limit : float
        Seconds after which the process is killed.
    threads : int, optional
        Of BLAS, OpenMP and Numba; the number of cores by default.
    room : float
        Part of the machine's memory at which the process is killed, before the machine is.

    Returns
    -------
    dict
        ``status`` is "ok", "limit", "memory", "unavailable" or "failed"; ``seconds``,
        ``cpu_seconds``, ``peak_mib`` where they are known, ``reason`` where it failed, and
        whatever else the child reported.
    """
    count = str(threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1)
    environment = {**os.environ, **dict.fromkeys(_THREADS, count)}
    most, started, status = 0, time.perf_counter(), ""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
        root = Path(__file__).resolve().parent.parent
        with subprocess.Popen(
            command, stdout=output, stderr=errors, env=environment, cwd=root
        ) as process:
            watched_process = psutil.Process(process.pid)
            while process.poll() is None:
                most = max(most, _resident(watched_process))
                if time.perf_counter() - started > limit:
                    status = "limit"
                elif most > room * psutil.virtual_memory().total:
                    status = "memory"
                if status:
                    process.kill()
                    break
                time.sleep(0.02)
        took, peak = time.perf_counter() - started, most / MEBIBYTE
        if status == "limit":
            return {"status": status, "seconds": limit, "peak_mib": peak}
        if status == "memory":
            reason = "ended before it had taken all of the machine's memory"
            return {"status": status, "reason": reason, "seconds": took, "peak_mib": peak}
        output.seek(0)
        errors.seek(0)
        lines = output.read().splitlines()
        if process.returncode == 0 and lines:
            found: dict[str, Any] = json.loads(lines[-1])
            return found
        tail = [line for line in errors.read().splitlines() if line.strip()]
    reason = tail[-1] if tail else f"the process ended with {process.returncode}"
    return {"status": "failed", "reason": reason[:300]}


def fastest(before: dict[str, Any] | None, run: dict[str, Any]) -> dict[str, Any]:
    """Of two runs of one method, keep the faster one, and the higher peak."""
    if before is None or run["status"] != "ok":
        return run
    best = before if before["seconds"] <= run["seconds"] else run
    return {**best, "peak_mib": max(before["peak_mib"], run["peak_mib"])}


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def watched(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Do the work; return its result and the time and memory that it took.

    Memory is the highest resident size while it worked, less the size before (the input).
    """
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back; Linux only
    before = _status("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    figures = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": max(0, _status("VmHWM") - before) / 1024,
        "input_mib": before / 1024,
    }
    return result, figures


def report(work: Callable[[], dict[str, Any]]) -> None:
    """Print what the work returns as the one line that `measured` reads."""
    try:
        found = {"status": "ok", **work()}
    except Unavailable as error:
        found = {"status": "unavailable", "reason": str(error)}
    print(json.dumps(found))


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0
