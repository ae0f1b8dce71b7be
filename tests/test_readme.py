"""The Python of the README runs as it stands, on the store that ``make audit`` makes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

import contexture as cx

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.xdist_group("prefect")
def test_python_of_the_readme(abalone_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(abalone_store.parent)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["spectrum"].rank == 512
    assert len(names["audit"].scores()) == 7


def test_configuration_of_the_readme(tmp_path: Path) -> None:
    from flows.configuration import load_parameters

    block = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    path = tmp_path / "abalone.yaml"
    path.write_text(block.group(1), encoding="utf-8")
    parameters = load_parameters(path)
    assert [c.label for c in parameters.contexts] == [
        "knn-30",
        "knn-0.01-m2000",
        "rbf-10",
        "masked-knn-30",
    ]


@pytest.mark.xdist_group("prefect")
def test_ranking_of_the_readme(abalone_store: Path) -> None:
    """The table shown is the one that comes out."""
    from rich.console import Console

    from flows.terminal import show_ranking

    console = Console(width=80, record=True, file=io.StringIO())
    show_ranking(console, cx.open_store(str(abalone_store)))
    readme = README.read_text(encoding="utf-8")
    lines = console.export_text().splitlines()
    table = [line.rstrip() for line in lines if re.match(r"(context|knn|rbf)[ -]", line)]
    assert len(table) == 8
    for line in table:
        assert line in readme
