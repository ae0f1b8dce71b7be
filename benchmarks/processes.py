"""An audit in processes of its own: watched, and killed where that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

INTERVAL = 0.25
_FIELDS = {"Rss": "rss", "Pss": "pss", "Pss_Anon": "anonymous"}


def audited(
    configuration: Path, kill_after: str | None = None, kill_delay: float = 0.0
) -> dict[str, Any]:
    """Run ``contexture audit`` and watch it.

    Parameters
    ----------
    configuration : Path
    kill_after : str, optional
        Seconds, or a text of its output: then (and ``kill_delay`` seconds later) every process
        of it gets SIGKILL.
    kill_delay : float

    Returns
    -------
    dict
        ``seconds``, ``code``, ``killed``; the highest sums over all processes, in MiB:
        ``peak_pss_mib`` (shared pages counted once; pages of mapped files among them),
        ``peak_anonymous_mib`` (what cannot be dropped: without such files), ``peak_rss_mib``;
        ``phases``, the seconds at which lines of output came; ``output``.
    """
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    started, phases = time.perf_counter(), list[tuple[float, str]]()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "audit", str(configuration)],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        reader = threading.Thread(target=_read, args=(process, started, phases), daemon=True)
        reader.start()
        tree, killed = Tree(process.pid), False
        while process.poll() is None:
            tree.sample()
            if kill_after is not None and _due(kill_after, kill_delay, phases, started):
                tree.kill()
                killed = True
                break
            time.sleep(INTERVAL)
        code = process.wait()
        code = -9 if killed else code  # whoever waits second is not told
        seconds = time.perf_counter() - started
        reader.join(timeout=5)
        errors.seek(0)
        output = "\n".join(line for _, line in phases) + "\n" + errors.read()
    return {
        "seconds": seconds, "code": code, "killed": killed, "phases": phases, "output": output,
        **{f"peak_{name}_mib": most / 2**20 for name, most in tree.most.items()},
        "most_processes": tree.most_processes, "samples": tree.samples,
    }  # fmt: skip


def _read(process: subprocess.Popen[str], started: float, phases: list[tuple[float, str]]) -> None:
    for line in process.stdout or ():
        if line.strip():
            phases.append((round(time.perf_counter() - started, 2), line.rstrip()))


def _due(after: str, delay: float, phases: list[tuple[float, str]], started: float) -> bool:
    now = time.perf_counter() - started
    try:
        return now >= float(after)
    except ValueError:
        return any(after in line and now >= when + delay for when, line in phases)


@dataclass
class Tree:
    """A process and all that come from it, also those whose parent has gone.

    Attributes
    ----------
    most : dict
        Highest sums so far, in bytes.
    """

    root: int
    most: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FIELDS.values(), 0))
    most_processes: int = 0
    samples: int = 0
    _known: dict[int, psutil.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known[self.root] = psutil.Process(self.root)

    def sample(self) -> None:
        """Add up the memory of all of them."""
        sums = dict.fromkeys(_FIELDS.values(), 0)
        alive = self._alive()
        for process in alive:
            for name, value in memory(process.pid).items():
                sums[name] += value
        self.most = {name: max(self.most[name], value) for name, value in sums.items()}
        self.most_processes = max(self.most_processes, len(alive))
        self.samples += 1

    def kill(self) -> None:
        """Send SIGKILL to all of them at once, and wait until they have gone."""
        alive = self._alive()
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=10)

    def _alive(self) -> list[psutil.Process]:
        for known in list(self._known.values()):
            try:
                for child in known.children(recursive=True):
                    self._known.setdefault(child.pid, child)
            except psutil.NoSuchProcess:
                continue
        self._known = {pid: p for pid, p in self._known.items() if p.is_running()}
        return list(self._known.values())


def memory(pid: int) -> dict[str, int]:
    """Resident, proportional and anonymous bytes of a process; nothing if it has gone."""
    found = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
            for line in lines:
                name, _, rest = line.partition(":")
                if name in _FIELDS:
                    found[_FIELDS[name]] = 1024 * int(rest.split()[0])
    except (OSError, ValueError):
        return {}
    return found
