"""What the command line shows."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import contexture as cx
from contexture.contexts import Knn
from contexture.estimators.machine import Machine
from contexture.estimators.plan import ContextPlan
from contexture.preflight import Preflight
from flows.live import Output, OutputError, ProgressListener
from flows.terminal import bounds, compact, show_plan, show_ranking, show_runs


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


def test_runs_that_did_not_finish_by_any_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pd.to_datetime
    # As pandas 2 does.
    monkeypatch.setattr(pd, "to_datetime", lambda text: None if text is None else real(text))
    row = {
        "run": "r1", "name": "a", "status": "running", "started": "2026-01-02T03:04:05+00:00",
        "finished": "", "contexts": 2, "rows": np.nan,
    }  # fmt: skip
    file = io.StringIO()
    show_runs(Console(file=file, width=100), pd.DataFrame([row, row | {"started": ""}]))
    lines = file.getvalue().splitlines()
    assert lines[1].split() == ["r1", "a", "running", "2026-01-02", "03:04", "2"]
    assert lines[2].split() == ["r1", "a", "running", "2"]


class FakeAudit:
    """As much of an audit as the ranking reads."""

    attributes = {"name": "[b]x[/b]"}

    def __init__(self, names: Sequence[str], targets: Sequence[str]) -> None:
        self.names, self.targets = names, targets

    def scores(self, errors: bool) -> pd.DataFrame:
        row = {
            "usefulness": 1.8747,
            "usefulness_standard_error": 0.0046,
            "best_rank": 512,
            "association": "strong",
            "abstains": True,
            "total_association": 1834.4,
            "components": 12,
        }
        for i, target in enumerate(self.targets):
            row |= {f"compatibility[{target}]": i / 100}
            row |= {f"compatibility[{target}]_standard_error": 0.008}
        return pd.DataFrame([{"context": name} | row for name in self.names])

    def caveats(self) -> list[str]:
        return []


def ranking(width: int, names: Sequence[str], targets: Sequence[str]) -> list[str]:
    file = io.StringIO()
    audit: Any = FakeAudit(names, targets)
    show_ranking(Console(file=file, width=width), audit)
    return [line.rstrip() for line in file.getvalue().splitlines()]


MAIN = r"  1\.8747 ± 0\.0046  512  strong, abstains  1,834\.40     12"


@pytest.mark.parametrize(
    ("width", "count", "tables"), [(80, 1, 0), (80, 2, 1), (80, 3, 1), (120, 5, 1), (120, 8, 2)]
)
def test_ranking_fits(width: int, count: int, tables: int) -> None:
    names = ["knn-150", "knn-30"]
    targets = [f"target{i}" for i in range(count)]
    lines = ranking(width, names, targets)
    assert max(map(len, lines)) <= width
    assert lines[0] == "Contexts of [b]x[/b], best first"
    assert lines.count("Compatibility ρ with targets") == (tables > 0)
    headers = [line for line in lines if line.startswith("context ")]
    assert len(headers) == 1 + tables
    shown = [name for header in headers for name in header.split() if name.startswith("ρ(")]
    assert shown == [f"ρ({target})" for target in targets]
    text = "\n".join(lines)
    for name in names:
        assert re.search(rf"^{name} *{MAIN}", text, re.MULTILINE)
    for i in range(count):
        assert text.count(f"{i / 100:.3f} ± 0.008") == len(names)


def test_targets_stand_beside_where_they_fit() -> None:
    lines = ranking(120, ["knn-150"], ["a", "b", "c"])
    assert "Compatibility ρ with targets" not in lines
    assert lines[1].split()[-3:] == ["ρ(a)", "ρ(b)", "ρ(c)"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_names_fold(width: int) -> None:
    name, target = "0123456789" * 8, "abcdefghij" * 10
    lines = ranking(width, [name], [target, "short"])
    assert max(map(len, lines)) <= width
    below = lines.index("Compatibility ρ with targets")
    for part in (lines[2:below], lines[below:]):
        found = [match.group() for line in part if (match := re.match(r"\d+", line))]
        assert "".join(found).startswith(name)
        assert len(found[0]) >= 12
    assert any("1.8747 ± 0.0046  512  strong, abstains" in line for line in lines)
    text = "".join(lines).replace(" ", "").replace("context", "")
    assert f"ρ({target})" in text


def test_narrow_consoles_cut_nothing() -> None:
    lines = ranking(30, ["knn-150"], ["a"])
    assert "knn-150  1.8747 ± 0.0046  512  strong, abstains" in lines


def test_plan_fits() -> None:
    plan = ContextPlan(
        context="masked-knn-0.01-m2000-and-more",
        family="knn",
        resolved=Knn(k=30),
        route="distributed",
        rows=100_000,
        columns=100_000,
        nonzeros=123_400_000,
        kernel="auto",
        draws=1,
        reference_error=None,
        error_reached=True,
        left_functions=False,
        ordered=True,
        search_bytes=0,
        rows_bytes=0,
        passes=120.0,
        read_bytes=1e13,
        solver_bytes=0,
        chunk_rows=100,
        blocks=1000,
        rank=512,
        disk_bytes=10**12,
        memory_bytes=10**12,
        work=1.23e14,
    )
    found = Preflight(
        rows=9,
        features=3,
        targets=("a",),
        source="x.csv",
        partitions=1,
        numbers=("x",),
        categories=(("y", 2),),
        dropped=(),
        plans=(plan,),
        corpus=None,  # type: ignore[arg-type]
        recipe=None,  # type: ignore[arg-type]
    )
    for width, expected in (
        (80, "931 GiB  931 GiB     120  123 Tflop"),
        (120, "1000  931 GiB  931 GiB     120  9,313 GiB"),
    ):
        file = io.StringIO()
        show_plan(Console(file=file, width=width), found, Machine(10), "here", "x.zarr")
        lines = file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        row = next(line for line in lines if line.startswith("masked-knn-0"))
        assert "distributed  100000×100000" in row
        assert expected in row


def test_runs_fit() -> None:
    row = {
        "run": "20260102T030405-123abcd",
        "name": "abcdefghij" * 8,
        "status": "interrupted",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "contexts": 12,
        "rows": 1_234_567,
    }
    for width in (50, 80, 120):
        file = io.StringIO()
        show_runs(Console(file=file, width=width), pd.DataFrame([row]))
        lines = file.getvalue().splitlines()
        assert lines[1].startswith("20260102T030405-123abcd  abcdefghij")
        assert "interrupted  2026-01-02 03:04" in lines[1]
        assert max(map(len, lines)) <= max(width, 68)


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_progress_that_cannot_be_written_ends_nothing() -> None:
    output = Output(file=Full())
    ProgressListener(output).advance("features", 1, 1)
    with pytest.raises(OutputError, match=r"^No space left on device$"):
        output.print("the ranking")
