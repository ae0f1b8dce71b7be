"""What the ``contexture`` command starts: it needs nothing, so that it can say what is missing.

The command is there after ``pip install .`` too, which installs the library alone.
"""

from __future__ import annotations

import sys

PIPELINE = frozenset(
    {
        "fastapi",
        "httpx",
        "jinja2",
        "matplotlib",
        "prefect",
        "rich",
        "sqlalchemy",
        "tzlocal",
        "yaml",
    }
)
"""The packages that the extra ``pipeline`` brings, as they are imported."""

_USER_ERROR = 2  # that of flows.cli, which cannot be imported here


def main() -> int:
    """Run the command with the arguments of the process; returns the exit code.

    Where a package of the pipeline is missing, that is one sentence.
    """
    try:
        from flows.cli import main as run

        return run()
    except ModuleNotFoundError as error:
        missing = str(error.name).split(".")[0]
        if missing not in PIPELINE:
            raise
        print(
            f"contexture: the command needs {missing}; install it with: "
            "pip install 'contexture[pipeline]'",
            file=sys.stderr,
        )
        return _USER_ERROR
