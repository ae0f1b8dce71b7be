"""Colours and settings that all figures share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib

from contexture.report.content import Curve

DASHES = (3.2, 1.6)


@dataclass(frozen=True)
class Theme:
    """Colours of a figure."""

    ink: str
    muted: str
    grid: str
    other: str
    surface: str
    series: tuple[str, ...]

    def colour(self, curve: Curve) -> str:
        """Colour of a context."""
        return self.other if curve.colour is None else self.series[curve.colour]


_rendering = threading.RLock()


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw with matplotlib's own settings, whatever the user set, and one thread at a time.

    matplotlib keeps settings and fonts in the process, and reports are written on threads.

    Parameters
    ----------
    name : str
        Of the figure: identifiers in its SVG are derived from it, the same every time.
    """
    with _rendering, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name})
        yield


LIGHT = Theme(
    ink="#1b1d21",
    muted="#5c626b",
    grid="#e4e3de",
    other="#c3c3be",
    surface="#ffffff",
    series=("#1f55b5", "#dd6b12", "#6d2a66", "#17998a", "#a8300a", "#6f86e0"),
)
"""Colours on light ground, the same as in the style sheet."""
