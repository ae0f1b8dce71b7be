"""What the command line shows."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import contexture as cx
from flows.terminal import ProgressListener, bounds, compact, show_runs


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 "), (999, "999 "), (20885, "20.9 k"), (17447329, "17.4 M"), (2.44e11, "244 G")],
)
def test_compact(number: float, text: str) -> None:
    assert compact(number) == text


def test_bounds() -> None:
    schema = cx.contexts.Knn.model_json_schema()["properties"]
    assert bounds(schema["k"], False) == "integer >= 1, optional"
    assert bounds(schema["fraction"], False) == "number > 0 < 1, optional"
    assert bounds(schema["include_self"], False) == "yes or no, default True"
    schema = cx.contexts.Rbf.model_json_schema()["properties"]
    assert bounds(schema["gamma"], True) == "number > 0, required"
    assert bounds(schema["scale"], False) == "median or absolute, default median"


def test_progress_without_a_terminal() -> None:
    file = io.StringIO()
    listener = ProgressListener(Console(file=file, width=80))
    with listener.shown():
        for done in range(3):
            listener.advance("knn-5: operator", done, 2)
    assert file.getvalue() == "knn-5: operator: done\n"


def test_progress_on_a_terminal() -> None:
    file = io.StringIO()
    listener = ProgressListener(Console(file=file, width=80, force_terminal=True))
    with listener.shown():
        for done in range(3):
            listener.advance("[b]x[/b]", done, 2)
    assert "[b]x[/b]" in file.getvalue()
    assert "2/2" in file.getvalue()


def test_runs_that_did_not_finish() -> None:
    file = io.StringIO()
    common = {"name": "a", "started": "2026-01-02T03:04:05+00:00", "contexts": 2}
    runs = pd.DataFrame(
        [
            {"run": "r1", "status": "interrupted", "finished": "", "rows": np.nan},
            {
                "run": "r2",
                "status": "complete",
                "finished": "2026-01-02T03:05:05+00:00",
                "rows": 10,
            },
        ]
    ).assign(**common)
    show_runs(Console(file=file, width=100), runs)
    lines = file.getvalue().splitlines()
    assert lines[1].split() == ["r1", "a", "interrupted", "2026-01-02", "03:04", "2"]
    assert lines[2].split() == ["r2", "a", "complete", "2026-01-02", "03:04", "60", "s", "2", "10"]
