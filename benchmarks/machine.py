"""What the machine is, and how fast it moves and multiplies numbers."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy import sparse

from contexture.inputs import FloatArray

PACKAGES = ("contexture", "numpy", "scipy", "scikit-learn", "dask", "dask-ml", "numba", "torch")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, versions, and the commit of this repository."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() or platform.machine()
    lines = (line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
    found: dict[str, str] = {}
    for name, value in lines:
        found.setdefault(name.strip(), value.strip())
    name = found.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in found and "model" in found:  # a virtual processor's name hides its age
        name += f" (family {found['cpu family']}, model {found['model']})"
    vectors = ["avx512f", "avx2", "avx"]
    flags = found.get("flags", "").split()
    return ", ".join([name, *[v for v in vectors if v in flags][:1]])


def _commit() -> str:
    root = Path(__file__).resolve().parent.parent
    try:
        told = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def rates(seconds: float = 0.5) -> dict[str, float]:
    """Measured rates with all cores: bandwidth in GB/s, products in GFLOP/s.

    Parameters
    ----------
    seconds : float
        Time for each rate; the best of the repeats counts.
    """
    found = {"triad_gb_s": triad(seconds)}
    for name, kind in (("sgemm", np.float32), ("dgemm", np.float64)):
        found[f"{name}_gflop_s"] = gemm(np.dtype(kind), seconds)
        found[f"sparse_{np.dtype(kind).name}_gflop_s"] = sparse_product(np.dtype(kind), seconds)
    return found


def triad(seconds: float = 0.5, threads: int | None = None, size: int = 16_000_000) -> float:
    """Compute a = b + x·c on arrays beyond every cache, in GB/s: each thread on its own part.

    NumPy needs two passes for it, t = x·c and a = b + t, and both are counted: 5 numbers a row.
    """
    count = threads or psutil.cpu_count(logical=False) or 1
    b, c, a = np.ones(size), np.ones(size), np.empty(size)
    parts = [slice(i * size // count, (i + 1) * size // count) for i in range(count)]

    def one(part: slice) -> None:
        np.multiply(c[part], 3.0, out=a[part])
        np.add(a[part], b[part], out=a[part])

    with ThreadPoolExecutor(count) as pool:
        best = _best(lambda: list(pool.map(one, parts)), seconds)
    return 5 * 8 * size / best / 1e9


def gemm(kind: np.dtype[Any], seconds: float = 0.5, size: int = 1536) -> float:
    """Square matrix product, in GFLOP/s."""
    A = np.random.default_rng(0).normal(size=(size, size)).astype(kind)
    return 2 * size**3 / _best(lambda: A @ A, seconds) / 1e9


def sparse_product(kind: np.dtype[Any], seconds: float = 0.5, columns: int = 64) -> float:
    """SciPy's sparse times dense, all in cache, one thread, in GFLOP/s."""
    n, k = 4000, 30
    indices = (np.arange(n)[:, None] + np.arange(k)[None, :]) % n  # a band: neighbours are near
    P = sparse.csr_array(
        (np.ones(n * k, kind), indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n)
    )
    B: FloatArray = np.ones((n, columns), kind)
    return 2 * n * k * columns / _best(lambda: P @ B, seconds) / 1e9


def _best(work: Callable[[], object], seconds: float) -> float:
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
