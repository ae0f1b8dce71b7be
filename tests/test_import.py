"""What `import contexture` needs, and what it does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


WITHOUT = """
import importlib.abc
import sys


class Absent(importlib.abc.MetaPathFinder):
    # Not sys.modules[name] = None: SciPy takes the None in place of torch for a module.
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
import contexture as cx
import numpy as np
X = np.random.default_rng(0).normal(size=(30, 3))
spectrum = cx.decompose(X, cx.contexts.Knn(k=5), rank=10)
print(f"{cx.scores.usefulness(spectrum).value:.3f}")
missing = [name for name in cx.__all__ if not hasattr(cx, name)]
assert not missing, missing
"""


def test_the_extras_are_not_needed() -> None:
    done = python(
        WITHOUT,
        "prefect",
        "matplotlib",
        "jinja2",
        "torch",
        "openml",
        "rich",
        "tasks",
        "flows",
        "hypothesis",
        "pytest",
    )  # fmt: skip  (yaml and psutil come with dask and distributed)
    assert done.returncode == 0, done.stderr
    assert 1 < float(done.stdout) <= 2


QUIET = """
import os, sys, threading, warnings
before = set(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else set()
ours = threading.active_count()
started = []
sys.addaudithook(
    lambda event, _: started.append(event)
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "socket.connect", "socket.bind")
    else None
)
import contexture
assert threading.active_count() == ours, threading.enumerate()
assert not started, started
heavy = {"prefect", "torch", "matplotlib", "openml", "sqlalchemy", "fastapi", "IPython"}
print(sorted(heavy & set(sys.modules)))
children = "/proc/self/task/%d/children" % os.getpid()
if os.path.exists(children):
    with open(children) as file:
        assert not file.read().strip()
import logging
assert not logging.getLogger("contexture").handlers
"""


def test_import_starts_nothing() -> None:
    done = python(QUIET)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    import contexture

    assert contexture.__version__ == version("contexture")


@pytest.mark.parametrize("module", ["contexture.contexts", "contexture.store", "contexture.scores"])
def test_parts_can_be_imported_first(module: str) -> None:
    """No circle that only the usual order of imports hides."""
    done = python(f"import {module}")
    assert done.returncode == 0, done.stderr
