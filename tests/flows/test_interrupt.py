"""What ends an audit from outside: Ctrl-C, kill -9, and a Prefect API that is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from contexture.errors import ClusterError
from contexture.store import Store, run_table
from flows.cli import USER_ERROR
from flows.cluster import connect
from flows.parameters import ClusterAddress
from tests.flows.serving import environment, free_port, wait_for

pytestmark = pytest.mark.xdist_group("prefect")

SENTENCE = "contexture: interrupted; the same command goes on where this one stopped.\n"


def command(configuration: Path) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "audit", str(configuration)]


@contextmanager
def auditing(configuration: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Audit in a process group of its own, as a shell with a terminal does."""
    with (
        (configuration.parent / "out.txt").open("w") as output,
        (configuration.parent / "err.txt").open("w") as errors,
        subprocess.Popen(
            command(configuration),
            env=environment(home),
            stdout=output,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                for child in family(process):
                    child.kill()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    whole = psutil.Process(process.pid)
    return [whole, *whole.children(recursive=True)]


def slow(configuration: Path) -> Path:
    """Make the operators of the audit take so long that it can be stopped amid them."""
    text = configuration.read_text().replace("gamma: 5, n_masks: 5", "gamma: 5, n_masks: 3000")
    configuration.write_text(text)
    return configuration


def wait_for_blocks(store: Path, process: subprocess.Popen[str], log: Path) -> None:
    def some() -> bool:
        assert process.poll() is None, log.read_text()
        # Unlike a glob, this does not mind folders that go while it looks.
        walk = os.walk(store / "operators")
        return any(Path(folder).match("done/c") and files for folder, _, files in walk)

    wait_for("the first block of an operator", some)


def gone(processes: list[psutil.Process], seconds: float) -> None:
    _, left = psutil.wait_procs(processes, timeout=seconds)
    assert not left


def test_ctrl_c_in_a_terminal(configuration: Path, tmp_path: Path) -> None:
    home, errors, store = tmp_path / "home", tmp_path / "err.txt", tmp_path / "small.zarr"
    with auditing(slow(configuration), home) as process:
        wait_for_blocks(store, process, errors)
        processes = family(process)
        assert len(processes) >= 4  # itself, server, two Dask workers
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130, errors.read_text()
    assert errors.read_text() == SENTENCE
    gone(processes, 5)
    assert list(run_table(Store.open(str(store)))["status"]) == ["interrupted"]

    done = subprocess.run(
        command(configuration), env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(run_table(Store.open(str(store)))["status"]) == ["interrupted", "complete"]


def test_nobody_outlives_a_killed_audit(configuration: Path, tmp_path: Path) -> None:
    with auditing(slow(configuration), tmp_path / "home") as process:
        wait_for_blocks(tmp_path / "small.zarr", process, tmp_path / "err.txt")
        processes = family(process)
        assert any("uvicorn" in child.cmdline() for child in processes)
        process.kill()
    gone(processes, 15)


@pytest.mark.parametrize("profile", [False, True], ids=["environment", "profile"])
def test_no_prefect_api(configuration: Path, tmp_path: Path, profile: bool) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    given = environment(tmp_path / "home")
    if profile:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "profiles.toml").write_text(
            f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n'
        )
    else:
        given["PREFECT_API_URL"] = url
    done = subprocess.run(
        command(configuration), env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    unset = "run 'prefect config unset PREFECT_API_URL'" if profile else "unset PREFECT_API_URL"
    assert done.stderr == (
        f"contexture: no Prefect API answers at '{url}'; start it, or {unset} to let this command "
        "start its own.\n"
    )
    assert not (tmp_path / "small.zarr").exists()


@pytest.mark.parametrize("address", ["ucx://127.0.0.1:1", "tls://127.0.0.1:1", "tcp://nowhere:x"])
def test_address_that_dask_cannot_use(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.cluster.TIMEOUT", "1s")
    cluster = ClusterAddress.model_construct(address=address)
    with (
        pytest.raises(ClusterError, match=f"no Dask cluster answers at '{address}'"),
        connect(cluster),
    ):
        pass


def test_a_reader_of_the_output_that_goes_does_not_end_the_audit(
    configuration: Path, tmp_path: Path
) -> None:
    """As a pager or head does, and a connection that breaks."""
    with (
        (tmp_path / "err.txt").open("w") as errors,
        subprocess.Popen(
            command(configuration), env=environment(tmp_path / "home"), stdout=subprocess.PIPE,
            stderr=errors, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.stdout.close()
            code = process.wait(300)
        finally:
            if process.poll() is None:
                for child in family(process):
                    child.kill()
    assert (code, (tmp_path / "err.txt").read_text()) == (0, "")
    store = Store.open(str(tmp_path / "small.zarr"))
    assert list(run_table(store)["status"]) == ["complete"]
    assert (tmp_path / "small.html").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_output_without_room_is_said_before_any_work(configuration: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(configuration), env=environment(tmp_path / "home"), stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == USER_ERROR
    assert done.stderr == (
        "contexture: the output cannot be written (No space left on device); what is in the store "
        "stays there.\n"
    )
    assert not (tmp_path / "small.zarr").exists()
