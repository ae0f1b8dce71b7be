"""`contexture serve`: its messages, where it listens, and how it stops."""

from __future__ import annotations

import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any

import psutil
import pytest

from contexture.errors import ConfigurationError
from contexture.store import Store
from contexture.store.audit import run_table
from flows.audit import audit
from flows.parameters import AuditParameters, LocalCluster
from flows.serve import local_timezone, make_deployment, parse_schedule
from flows.server import require_free
from tests.flows.serving import free_port, serving, wait_for

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 3 * *", r"'0 3 \* \*' has 4 field\(s\), but five are needed"),
        ("0 0 3 * * *", "has 6 field"),
        ("", "has 0 field"),
        ("61 3 * * *", r"'61 3 \* \* \*' is no cron expression; an example is '0 3 \* \* \*'"),
        ("@reboot", "'@reboot' is no cron expression"),
        ("h 3 * * *", "is no cron expression"),
        ("0 0 31 2 *", r"'0 0 31 2 \*' never comes"),
    ],
)
def test_bad_cron(cron: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_schedule(cron, "UTC")
    assert "'0 3 * * *'" in str(caught.value)


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berln", "'Europe/Berln'; did you mean 'Europe/Berlin'"),
        ("berlin", "did you mean 'Europe/Berlin'"),
        ("+02:00", r"unknown time zone '\+02:00'; an example is Europe/Berlin"),
        ("", "unknown time zone ''"),
    ],
)
def test_bad_time_zone(zone: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_schedule("0 3 * * *", zone)


def test_the_time_zone_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_schedule("@daily").timezone == local_timezone()
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: "Asia/Tokyo")
    assert parse_schedule("0 3 * * *").timezone == "Asia/Tokyo"
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: "local")
    assert parse_schedule("0 3 * * *").timezone == "UTC"


def test_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parameters = AuditParameters.model_validate(
        {
            "name": "wares",
            "corpus": {"reader": "csv", "path": "wares.csv"},
            "contexts": [{"kind": "knn", "k": 5}, {"kind": "graph", "path": "edges.csv"}],
        }
    )
    deployment = make_deployment(parameters, parse_schedule("0 3 * * *", "Asia/Tokyo"))
    assert deployment.name == "wares"
    assert deployment.entrypoint == "flows.audit.audit"
    assert deployment.concurrency_limit == 1
    assert deployment.concurrency_options is not None
    assert deployment.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert deployment.tags == ["contexture"]
    (schedule,) = deployment.schedules or []
    assert schedule.schedule.model_dump(include={"cron", "timezone"}) == {
        "cron": "0 3 * * *",
        "timezone": "Asia/Tokyo",
    }
    for said in ("wares", "knn-5", str(tmp_path / "wares.zarr"), "cancelled"):
        assert said in (deployment.description or "")
    given = deployment.parameters
    assert given["store"] == str(tmp_path / "wares.zarr")
    assert given["corpus"]["path"] == str(tmp_path / "wares.csv")
    assert given["contexts"][1]["path"] == str(tmp_path / "edges.csv")
    # What is handed to Prefect is what the flow takes.
    taken = audit.validate_parameters(given)
    assert taken["contexts"][0] == parameters.contexts[0]
    assert taken["cluster"] == LocalCluster()


def test_kinds_are_tabs_that_the_form_can_tell_apart() -> None:
    form = audit.parameters.model_dump()
    tabs = {
        "corpus": form["properties"]["corpus"],
        "contexts": form["properties"]["contexts"]["items"],
        "cluster": form["properties"]["cluster"],
    }
    for name, union in tabs.items():
        assert "oneOf" not in union, name  # the form would forget the chosen tab
        kinds = [form["definitions"][tab["$ref"].split("/")[-1]] for tab in union["anyOf"]]
        assert all(kind["title"] and kind["description"] for kind in kinds)
        fields = [set(kind["properties"]) for kind in kinds]
        # A saved value is shown in the first tab that knows most of its fields.
        for i, own in enumerate(fields):
            assert not any(own < earlier for earlier in fields[:i]), (name, kinds[i]["title"])
        titled: list[dict[str, Any]] = [p for k in kinds for p in k["properties"].values()]
        assert all("title" in p for p in titled)


def test_busy_port() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        message = f"port {port} of 127.0.0.1 is already in use; choose another one by --port"
        with pytest.raises(ConfigurationError, match=message):
            require_free(port)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_no_port(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"the port is {port}"):
        require_free(port)


def test_free_port_is_free() -> None:
    require_free(free_port())


def test_stops_cleanly_in_the_middle_of_a_run(tmp_path: Path) -> None:
    configuration = tmp_path / "slow.yaml"
    configuration.write_text(
        f"""
name: slow
corpus: {{reader: packaged, name: digits}}
contexts: [{{kind: masked-rbf, gamma: 5, n_masks: 10000}}]
max_rank: 64
store: {tmp_path / "slow.zarr"}
cluster: {{kind: local, workers: 1, memory: 1GiB}}
chunk_rows: 256
"""
    )
    home = tmp_path / "home"
    with serving(configuration, home, "--cron", "0 3 * * *") as served:
        served.start_run()
        wait_for("the first block", lambda: "operator: 0 of" in served.log.read_text())
        processes = served.processes()
        assert len(processes) >= 4  # itself, server, run, Dask worker
        listening = [
            connection.laddr.ip
            for process in processes
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) == {"127.0.0.1"}

        assert served.stop(signal.SIGINT) == 0, served.log.read_text()
        _, left = psutil.wait_procs(processes, timeout=10)
        assert not left

    with sqlite3.connect(home / "prefect.db") as history:
        runs = history.execute("SELECT state_type, auto_scheduled FROM flow_run").fetchall()
        paused = history.execute("SELECT name, paused FROM deployment").fetchall()
    history.close()
    assert runs == [("CANCELLED", 0)]  # what was scheduled is withdrawn while nobody serves it
    assert paused == [("slow", 1)]
    assert list(run_table(Store.open(str(tmp_path / "slow.zarr")))["status"]) == ["interrupted"]


def test_no_server_outlives_a_killed_process(configuration: Path, tmp_path: Path) -> None:
    with serving(configuration, tmp_path / "home", "--cron", "0 3 * * *") as served:
        processes = served.processes()
        assert len(processes) >= 2
        served.process.kill()
        _, left = psutil.wait_procs(processes, timeout=15)
        assert not left
