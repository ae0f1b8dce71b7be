"""Run a module of Python for as long as whoever started it lives.

::

    python -P bound.py MODULE [ARGUMENT ...]

Standard input must be a pipe that only the starter can write to. The end of that process, however
it comes, closes the pipe; this works on every system and has no race with the start.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

_PATIENCE = 5.0  # seconds for an end in good order; an open browser tab would keep a server


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
