"""A second signal does not interrupt what the first one set going."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from flows.signals import uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_do_not_interrupt(number: signal.Signals) -> None:
    class Heard(Exception):
        pass

    def hear(*_: object) -> None:
        raise Heard

    before = signal.signal(number, hear)
    waiting = threading.Event()
    other = threading.Thread(target=waiting.wait)  # takes signals that the main thread blocks
    other.start()
    try:
        with uninterrupted():
            os.kill(os.getpid(), number)
            done = sum(range(100_000))
        assert done == 4999950000
        with pytest.raises(Heard):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
        waiting.set()
        other.join()


def test_other_threads_are_left_alone() -> None:
    found = []

    def run() -> None:
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
