"""The command: its output, and one sentence with exit code 2 for whatever cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
import zarr

import contexture as cx
from contexture.errors import InputError
from flows.cli import main


def change(configuration: Path, **changes: Any) -> Path:
    """Rewrite a configuration; ``None`` removes a key, dicts are merged."""
    content = yaml.safe_load(configuration.read_text())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            content[key] |= value
        elif value is None:
            content.pop(key)
        else:
            content[key] = value
    configuration.write_text(yaml.safe_dump(content))
    return configuration


def edges(configuration: Path, text: str) -> Path:
    (configuration.parent / "edges.csv").write_text(text)
    return change(
        configuration, contexts=[{"kind": "graph", "path": "edges.csv", "weight": "weight"}]
    )


def ring(n: int = 300) -> str:
    rows = [f"row-{i},row-{(i + 1) % n},1" for i in range(n)]
    return "\n".join(["source,target,weight", *rows]) + "\n"


def data(configuration: Path, edit: Any) -> Path:
    path = configuration.parent / "corpus.csv"
    edit(pd.read_csv(path)).to_csv(path, index=False)
    return configuration


def array(configuration: Path, X: np.ndarray) -> Path:
    np.save(configuration.parent / "x.npy", X)
    return change(configuration, corpus=None) and change(
        configuration, corpus={"reader": "arrays", "path": "x.npy"}
    )


def in_the_way(configuration: Path, text: str | None) -> Path:
    place = configuration.parent / "small.html"
    if text is None:
        place.mkdir()
    else:
        place.write_text(text)
    return configuration


def two_ids(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[5, "id"] = "row-0"
    return frame


def constant(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(length=1.0, width=2.0, colour="red")


def infinite() -> np.ndarray:
    X = np.random.default_rng(0).normal(size=(300, 3))
    X[7, 1] = np.inf
    return X


BAD = {
    "missing configuration": (
        lambda c: c.parent / "nothing.yaml",
        "there is no configuration file",
    ),
    "missing data": (
        lambda c: change(c, corpus={"path": "gone.csv"}),
        "gone.csv': no such file",
    ),
    "unknown reader": (
        lambda c: change(c, corpus={"reader": "parket"}),
        "corpus: unknown reader 'parket'; did you mean 'parquet'?",
    ),
    "unknown kind": (
        lambda c: change(c, contexts=[{"kind": "knm", "k": 3}]),
        "contexts.0: unknown kind 'knm'; did you mean 'knn'?",
    ),
    "misspelt key": (
        lambda c: change(c, max_rnak=3),
        "unknown key 'max_rnak'; did you mean 'max_rank'?",
    ),
    "misspelt key of a context": (
        lambda c: change(c, contexts=[{"kind": "rbf", "gama": 3}]),
        "unknown key 'contexts.0.gama'; did you mean 'gamma'?",
    ),
    "misspelt key of a reader": (
        lambda c: change(c, corpus={"target": ["age"]}),
        "unknown key 'corpus.target'; did you mean 'targets'?",
    ),
    "not a mapping": (lambda c: c.write_text("- 1\n") and c, "must hold keys such as name"),
    "not YAML": (lambda c: c.write_text("a: [1\n") and c, "is not valid YAML"),
    "same name twice": (
        lambda c: change(c, contexts=[{"kind": "knn", "k": 3}] * 2),
        "two contexts are called 'knn-3'; give one of them a 'name'",
    ),
    "K >= n": (
        lambda c: change(c, contexts=[{"kind": "knn", "k": 300}]),
        "context 'knn-300': K is 300, but there are only 300 reference rows; choose K below 300.",
    ),
    "K >= m": (
        lambda c: change(c, contexts=[{"kind": "knn", "k": 30, "reference": 20}]),
        "K is 30, but there are only 20 reference rows",
    ),
    "m > n": (
        lambda c: change(c, contexts=[{"kind": "knn", "k": 30, "reference": 301}]),
        "reference is 301, but the corpus has only 300 rows",
    ),
    "gamma": (
        lambda c: change(c, contexts=[{"kind": "rbf", "gamma": -1}]),
        "contexts.0.gamma must be greater than 0, but it is -1",
    ),
    "no such column": (lambda c: change(c, corpus={"targets": ["aged"]}), "'aged'"),
    "no rows": (lambda c: data(c, lambda f: f.iloc[:0]), "no rows"),
    "constant features": (lambda c: data(c, constant), "is constant"),
    "infinite values": (lambda c: array(c, infinite()), "row 7"),
    "duplicate ids": (lambda c: data(c, two_ids), "'row-0'"),
    "unknown node": (
        lambda c: edges(c, ring() + "row-0,elsewhere,1\n"),
        "names 1 node(s) that are no id of the corpus, such as 'elsewhere'",
    ),
    "negative weight": (
        lambda c: edges(c, ring() + "row-0,row-7,-2\n"),
        "the weight in row 301 of",
    ),
    "node without edges": (
        lambda c: edges(c, ring(299)),
        "1 row(s) of the corpus have no edge, such as 'row-299'",
    ),
    "no edge list": (
        lambda c: change(c, contexts=[{"kind": "graph", "path": "gone.csv"}]),
        "gone.csv': no such file",
    ),
    "cluster that does not answer": (
        lambda c: (
            change(c, cluster=None)
            and change(c, cluster={"kind": "address", "address": "tcp://127.0.0.1:1"})
        ),
        "no Dask cluster answers at 'tcp://127.0.0.1:1'",
    ),
    "unknown protocol": (
        lambda c: change(c, store="foo://bucket/x.zarr"),
        "cannot be reached: there is no protocol 'foo'",
    ),
    "store below a file": (
        lambda c: change(c, store=f"{c.parent}/corpus.csv/x.zarr"),
        "corpus.csv' is a file; choose another path",
    ),
    "a folder where the report goes": (
        lambda c: in_the_way(c, None),
        "small.html', which is a folder; move it, or give 'store' another name",
    ),
    "another file where the report goes": (
        lambda c: in_the_way(c, "<title>mine</title>"),
        "small.html', and what lies there is no report of contexture's; move it, or",
    ),
    "too little memory": (
        lambda c: change(c, cluster={"memory": "1MB"}),
        "beside what its process takes 0 B may be used; give the context a 'reference'",
    ),
}


@pytest.mark.parametrize("command", ["audit", "plan", "serve"])
@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_input(
    configuration: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    make: Any,
    message: str,
) -> None:
    monkeypatch.setattr("flows.cluster.TIMEOUT", "1s")
    path = make(configuration)
    arguments = [command, str(path), *(["--cron", "0 3 * * *"] if command == "serve" else [])]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert error.startswith("contexture: ")
    assert "Traceback" not in error
    assert not (configuration.parent / "small.zarr").exists()


def other(path: Path) -> None:
    zarr.open_group(path, mode="w").create_array("x", shape=(3,), dtype="int8")


def newer(path: Path) -> None:
    zarr.open_group(path, mode="w").attrs["contexture"] = {"format": 99}


def folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other, "is not a contexture store"),
        (newer, "has format 99, but this version of contexture reads up to 1"),
        (folder, "is not a contexture store"),
        (lambda path: path.write_text("mine"), "is a file, not a store"),
    ],
    ids=["other Zarr", "newer format", "a folder", "a file"],
)
@pytest.mark.parametrize("command", ["audit", "show", "runs", "report"])
def test_store_that_is_not_ours(
    configuration: Path,
    capsys: pytest.CaptureFixture[str],
    make: Any,
    message: str,
    command: str,
) -> None:
    store = configuration.parent / "small.zarr"
    make(store)
    before = sorted(str(file) for file in store.rglob("*"))
    arguments = [command, str(configuration if command == "audit" else store)]
    if command == "report":
        arguments += ["-o", str(configuration.parent / "out.html")]
    assert main(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(str(file) for file in store.rglob("*")) == before


@pytest.mark.parametrize("command", ["show", "runs", "report"])
def test_missing_store(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    output = ["-o", str(tmp_path / "out.html")] if command == "report" else []
    assert main([command, str(tmp_path / "nothing.zarr"), *output]) == 2
    assert "there is no store at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_contexts_lists_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contexts"]) == 0
    text = capsys.readouterr().out
    for kind in cx.contexts.KINDS:
        assert kind.model_fields["kind"].default in text
        for name in kind.model_fields:
            assert name in text


def test_plan_computes_nothing(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(configuration)]) == 0
    text = capsys.readouterr().out
    assert "300 rows in 1 partition(s), 4 features, targets: age, group" in " ".join(text.split())
    for name in ("knn-10", "knn-0.1-m100", "rbf-5", "masked-knn-10", "masked"):
        assert name in text
    assert "300×100" in text
    assert sorted(file.name for file in configuration.parent.iterdir()) == [
        "corpus.csv",
        "small.yaml",
    ]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == cx.__version__


@pytest.mark.xdist_group("prefect")
def test_whole_command_line(configuration: Path, tmp_path: Path) -> None:
    """Audit, show, runs and report as a user calls them, in processes of their own."""
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    (tmp_path / "counts.csv").write_text(
        "x,a,count\n" + "".join(f"row-{i},word-{i % 7},{1 + i % 3}\n" for i in range(300))
    )
    (tmp_path / "edges.csv").write_text(ring())
    change(
        configuration,
        contexts=[
            {"kind": "knn", "k": 10},
            {"kind": "graph", "path": "edges.csv", "weight": "weight"},
            {"kind": "counts", "path": "counts.csv"},
        ],
    )
    store = str(tmp_path / "here.zarr")
    text = call("audit", str(configuration), "--store", store)
    assert "Plan" in text
    assert "Contexts of small, best first" in text
    assert store in text
    assert str(tmp_path / "here.html") in text
    audit = cx.open_store(store)
    assert audit.run in text
    shown = call("show", store)
    assert shown.strip() in text
    assert call("show", store, "--run", audit.run) == shown
    assert audit.run in call("runs", store)
    call("report", store, "-o", "again.html")
    assert (tmp_path / "again.html").read_text() == (tmp_path / "here.html").read_text()
    # seven words, never mixed: seven parts
    assert audit.scores().set_index("context").loc["counts-counts", "components"] == 7
    assert main(["show", store, "--run", "nothing"]) == 2


@pytest.mark.xdist_group("prefect")
@pytest.mark.usefixtures("prefect_server")
def test_a_report_that_cannot_be_written_costs_no_ranking(
    configuration: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(audit: cx.Audit, path: Path) -> None:
        raise InputError(f"cannot write the report '{path}' (it is full); choose another path.")

    change(configuration, contexts=[{"kind": "knn", "k": 10}])
    monkeypatch.setattr("tasks.publish.write_report", refuse)
    assert main(["audit", str(configuration)]) == 2
    said = capsys.readouterr()
    audit = cx.open_store(str(tmp_path / "small.zarr"))
    assert "Contexts of small, best first" in said.out
    assert f"run     {audit.run}" in said.out
    assert "report  " not in said.out
    assert said.err == (
        f"contexture: cannot write the report '{tmp_path}/small.html' (it is full); choose "
        f"another path. All results are in the store: 'contexture report {tmp_path}/small.zarr -o "
        "FILE' writes the report from it.\n"
    )
    assert list(audit.runs()["status"]) == ["complete"]


@pytest.mark.xdist_group("prefect")
@pytest.mark.skipif(
    shutil.which("mount") is None or os.geteuid() != 0, reason="needs the right to mount"
)
def test_disk_that_fills_up(configuration: Path, tmp_path: Path) -> None:
    """A real, small disk: one sentence, exit code 2, and the next run goes on."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        (place / "ballast").write_bytes(b"x" * 200_000)
        change(configuration, contexts=[{"kind": "knn", "k": 10}, {"kind": "knn", "k": 20}])
        command = [sys.executable, "-m", "flows.cli", "audit", str(configuration), "--store"]
        environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
        done = subprocess.run(
            [*command, str(place / "small.zarr")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "no space is left" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        (place / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=50m", str(place)], check=True)
        done = subprocess.run(
            [*command, str(place / "small.zarr")], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0
        assert len(cx.open_store(str(place / "small.zarr")).scores()) == 2
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_results_are_json_safe(configuration: Path) -> None:
    from flows.configuration import load_parameters
    from flows.parameters import AuditParameters

    parameters = load_parameters(configuration)
    again = AuditParameters.model_validate(json.loads(parameters.model_dump_json()))
    assert again == parameters
