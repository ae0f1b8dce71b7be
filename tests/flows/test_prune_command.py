from __future__ import annotations

import re
from pathlib import Path

import pytest

from contexture.store.runs import begin_run, list_runs
from flows.cli import main
from tests.store.made import audit, nights


def test_old_runs_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, runs = nights(tmp_path, 3)
    assert main(["prune", store.url]) == 0
    nothing = "Nothing to remove: every run stays, and needs all that is there.\n"
    assert capsys.readouterr().out == nothing
    for words, first in ((["--dry-run"], "Would remove"), ([], "Removed")):
        assert [run for run, _ in list_runs(store)] == runs
        assert main(["prune", store.url, "--keep", "1", *words]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert re.fullmatch(
            f"{first} 2 runs, 2 operators, 2 sets of neighbours, 2 sets of features "
            rf"\({runs[0]} to {runs[1]}\); [\d.]+ kB\.",
            said,
        )
    assert [run for run, _ in list_runs(store)] == runs[2:]
    assert main(["show", store.url]) == 0
    capsys.readouterr()
    assert main(["prune", store.url, "--keep", "1"]) == 0
    assert capsys.readouterr().out == nothing


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = audit(tmp_path)
    assert main(["prune", store.url, "--keep", "0"]) == 2
    assert capsys.readouterr().err == "contexture: 0 runs cannot be kept; keep at least 1.\n"
    run = begin_run(store, {})
    assert main(["prune", store.url]) == 2
    assert capsys.readouterr().err.startswith(f"contexture: run '{run}' on ")
    assert main(["prune", str(tmp_path / "none.zarr")]) == 2
    assert capsys.readouterr().err.startswith("contexture: there is no store at ")
