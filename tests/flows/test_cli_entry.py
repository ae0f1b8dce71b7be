"""The command where the library was installed alone: one sentence, whatever of the rest lacks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import contexture
from flows.cli import USER_ERROR
from flows.cli_entry import PIPELINE

ROOT = Path(__file__).parent.parent.parent

COMMAND = """
import importlib.abc
import sys

without = sys.argv.pop(1)


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == without:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
from flows.cli_entry import main

sys.exit(main())
"""


def call(without: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, without, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def sentence(package: str) -> str:
    return (
        f"contexture: the command needs {package}; install it with: "
        "pip install 'contexture[pipeline]'\n"
    )


def test_a_package_that_every_command_needs() -> None:
    done = call("rich", "show", "x.zarr")
    assert (done.returncode, done.stdout, done.stderr) == (USER_ERROR, "", sentence("rich"))


def test_a_package_that_an_audit_alone_needs(configuration: Path) -> None:
    done = call("prefect", "audit", str(configuration))
    assert (done.returncode, done.stderr) == (USER_ERROR, sentence("prefect"))
    assert not (configuration.parent / "small.zarr").exists()
    done = call("prefect", "show", str(configuration.parent / "small.zarr"))
    assert "there is no store at" in done.stderr


def test_a_package_of_the_library_is_another_matter() -> None:
    done = call("zarr", "show", "x.zarr")
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'zarr'\n")


def test_with_everything_it_is_the_command() -> None:
    done = call("nothing", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{contexture.__version__}\n", "")
    assert call("nothing", "show", "nothing.zarr").returncode == USER_ERROR


def test_the_packages_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"contexture": "flows.cli_entry:main"}
    extras = project["optional-dependencies"]
    needed = {re.split(r"[^\w-]", each)[0] for each in extras["pipeline"] + extras["report"]}
    assert {each if each != "pyyaml" else "yaml" for each in needed - {"contexture"}} == PIPELINE
