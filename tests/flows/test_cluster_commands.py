"""A cluster that is started with the commands of docs/operations.md, and an audit on it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import distributed
import pandas as pd
import pytest

import contexture as cx
from flows.cli import main
from flows.cluster import smallest_worker, threads_for

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.xdist_group("prefect")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(line: str) -> Iterator[None]:
    words = line.split()
    assert words[0] == "dask"
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *words[1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def documented(*more: str, hosts: Sequence[str] = ()) -> Iterator[str]:
    """Run the commands of the document; gives the address.

    Parameters
    ----------
    *more : str
        Further words for the worker.
    hosts : sequence of str
        Instead of the worker's two processes, one on each of these addresses of loopback, as if
        they were machines.
    """
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = re.findall(r"^dask (?:scheduler|worker) .*$", text, re.MULTILINE)
    assert len(lines) == 2
    port = free_port()
    scheduler, worker = (line.replace("8786", str(port)) for line in lines)
    with ExitStack() as stack:
        stack.enter_context(started(scheduler))
        end = time.monotonic() + 60
        address = f"tcp://127.0.0.1:{port}"
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.1)
        worker = " ".join([worker, *more])
        for host in hosts:
            assert "--nworkers" not in worker.replace("--nworkers 2", "")
            alone = worker.replace("--nworkers 2", "")
            stack.enter_context(started(f"{alone} --host {host}"))
        if not hosts:
            stack.enter_context(started(worker))
        with distributed.Client(address, set_as_default=False, timeout="60s") as client:
            client.wait_for_workers(2, timeout=60)
        yield address


@pytest.mark.usefixtures("prefect_server")
def test_an_audit_on_a_cluster_by_its_address(
    configuration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(configuration)]) == 0
    expected = cx.open_store(str(tmp_path / "small.zarr")).scores()
    with documented("--memory-limit", "2GiB") as address:
        other = str(tmp_path / "other.zarr")
        assert main(["audit", str(configuration), "--cluster", address, "--store", other]) == 0
        assert f"On the Dask cluster at {address}; each task may use 2.0 GiB" in " ".join(
            capsys.readouterr().out.split()
        )
        with distributed.Client(address, set_as_default=False) as client:
            assert smallest_worker(client) == (2 * 2**30, 1)
            # Two workers of one machine: one context has both, more share them.
            assert [threads_for(client, contexts) for contexts in (1, 2, 9)] == [2, 1, 1]
    found = cx.open_store(other).scores()
    pd.testing.assert_frame_equal(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("prefect_server")
def test_a_kernel_without_its_matrix_is_shared_out_among_machines(
    configuration: Path, tmp_path: Path
) -> None:
    text = configuration.read_text()
    start, end = text.index("contexts:"), text.index("max_rank:")
    kernel = (
        "contexts:\n  - {kind: rbf, gamma: 5}\nestimation: {route: matrix-free, kernel: tiles}\n"
    )
    configuration.write_text(text[:start] + kernel + text[end:])

    def jobs(address: str) -> set[str]:
        with distributed.Client(address, set_as_default=False) as client:
            seen: set[str] = client.run_on_scheduler(
                lambda dask_scheduler: set(dask_scheduler.task_prefixes)
            )
            return seen

    scores, seen = [], []
    for number, hosts in enumerate([(), ("127.0.0.1", "127.0.0.2")]):
        store = str(tmp_path / f"{number}.zarr")
        with documented("--memory-limit", "2GiB", hosts=hosts) as address:
            main_of = ["audit", str(configuration), "--cluster", address, "--store", store]
            assert main(main_of) == 0
            seen.append(jobs(address))
        scores.append(cx.open_store(store).scores())
    shared = {"marginals_of", "tile_sums", "rows_of"}
    assert not shared & seen[0]
    assert shared <= seen[1]
    pd.testing.assert_frame_equal(scores[1], scores[0], rtol=1e-5, atol=1e-6)


def test_workers_without_a_limit_share_their_machine() -> None:
    with (
        documented("--memory-limit", "0") as address,
        distributed.Client(address, set_as_default=False) as client,
    ):
        memory, threads = smallest_worker(client)
        assert threads == 1
        assert memory == distributed.system.memory_limit() // 2
