"""The Dask client of a flow: workers of its own, or a cluster that runs already."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import distributed
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed.system import MEMORY_LIMIT, memory_limit

from contexture.errors import ClusterError
from contexture.estimators.machine import Machine, gibibytes
from contexture.store.usage import usable_disk
from flows.parameters import AnyCluster, ClusterAddress, LocalCluster
from flows.signals import no_interrupts

_HERE = "127.0.0.1"

TIMEOUT = "15s"
"""How long a cluster may take to answer at its address."""


def silence() -> None:
    """Let Dask say nothing in this process: what a person should know is told in a sentence."""
    for name in ("asyncio", "distributed", "tornado", *logging.root.manager.loggerDict):
        if name.split(".")[0] in ("asyncio", "distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def worker_memory(cluster: LocalCluster) -> int:
    """Memory of each worker in bytes: as given, or an equal share of the machine's.

    A configuration may come from a larger machine. What it gives beyond the equal share is not
    there, and a plan that believed it would end in a machine without memory.
    """
    share = MEMORY_LIMIT / (cluster.workers or CPU_COUNT)
    if cluster.memory is None:
        return int(share * 0.9)
    return min(int(parse_bytes(cluster.memory)), int(share))


def machine_of(cluster: AnyCluster, store: str) -> Machine:
    """Return what a plan may use of a cluster and of the disk under a store.

    Raises
    ------
    ClusterError
        If the cluster should run already, and none answers.
    """
    if isinstance(cluster, LocalCluster):
        memory = worker_memory(cluster) // cluster.threads
        return Machine(memory, usable_disk(store), cluster.threads)
    with connect(cluster) as client:
        memory, threads = smallest_worker(client)
    return Machine(memory, usable_disk(store), threads)


def smallest_worker(client: distributed.Client) -> tuple[int, int]:
    """Bytes that a task may use on the worker with the least for each thread, and its threads."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    unlimited = [address for address, worker in workers.items() if not worker["memory_limit"]]
    # All workers of a machine share what it has.
    machines = client.run(memory_limit, workers=unlimited) if unlimited else {}
    beside = Counter(worker["host"] for worker in workers.values())
    found = []
    for address, worker in workers.items():
        limit = worker["memory_limit"] or machines[address] / beside[worker["host"]]
        threads = max(1, worker["nthreads"])
        found.append((int(limit / threads), threads))
    return min(found)


def threads_for(client: distributed.Client, contexts: int) -> int:
    """Threads that each of so many contexts may use, with all machines of a cluster at work.

    A spectrum is found on one worker, while the others of its machine have nothing to do but
    other contexts.
    """
    hosts = Counter[str]()
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        hosts[worker["host"]] += worker["nthreads"]
    if _HERE in hosts:
        hosts[_HERE] = min(hosts[_HERE], CPU_COUNT)
    fewest = min(hosts.values(), default=1)  # workers may be starting anew
    return max(1, min(fewest, fewest * len(hosts) // contexts))


def describe(cluster: AnyCluster) -> str:
    """Say in a few words where the work will be done."""
    if isinstance(cluster, ClusterAddress):
        return f"the Dask cluster at {cluster.address}"
    text = f"{cluster.workers or CPU_COUNT} Dask worker(s) on this machine"
    memory = worker_memory(cluster)
    if cluster.memory is not None and memory < parse_bytes(cluster.memory):
        text += f", which has {gibibytes(memory)} for each instead of {cluster.memory}"
    return text


@contextmanager
def open_cluster(cluster: AnyCluster) -> Iterator[distributed.Client]:
    """Start or join the workers; the client is the current one until the context ends.

    Raises
    ------
    ClusterError
        If no cluster answers at the address, or it has no workers.
    """
    if isinstance(cluster, ClusterAddress):
        with connect(cluster) as client, client.as_current():
            yield client
        return
    # Prefect lets every logger speak; of Dask's, only warnings matter to a run.
    log = logging.getLogger("distributed")
    log.setLevel(max(log.level, logging.WARNING))
    with ExitStack() as stack:
        try:
            # A worker that heard the Ctrl-C would be gone before the run could end in good order.
            with no_interrupts():
                local = stack.enter_context(_workers(cluster))
                client = stack.enter_context(_client(local))
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(
                f"the Dask workers did not start ({error}); check that this machine has memory "
                "and disk left, or name a running cluster."
            ) from error
        stack.enter_context(client.as_current())
        yield client


def _client(where: str | distributed.LocalCluster, **options: str) -> distributed.Client:
    # A default client is a setting of the whole process, which a client that is closed late (by
    # the garbage collector, say) puts back to what it was when yet another one was open.
    return distributed.Client(where, set_as_default=False, **options)


def _workers(cluster: LocalCluster) -> distributed.LocalCluster:
    return distributed.LocalCluster(
        n_workers=cluster.workers or CPU_COUNT,
        threads_per_worker=cluster.threads,
        memory_limit=worker_memory(cluster),
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


@contextmanager
def connect(cluster: ClusterAddress) -> Iterator[distributed.Client]:
    """Join a running cluster.

    Raises
    ------
    ClusterError
        If none answers, or it has no workers.
    """
    client = None
    # Besides a silent address: a protocol that is not installed, or that wants certificates.
    with suppress(OSError, ValueError, TypeError, ImportError, RuntimeError):
        client = _client(cluster.address, timeout=TIMEOUT)
    if client is None:
        # The half-made client goes here and now. Collected later, in the thread in which the loop
        # of another one starts, it would wait for a lock that is held until that loop runs.
        gc.collect()
        raise ClusterError(
            f"no Dask cluster answers at '{cluster.address}' (waited {TIMEOUT}); start one with "
            "'dask scheduler' and 'dask worker', or leave 'cluster' out to use this machine."
        )
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ClusterError(
                f"the Dask cluster at '{cluster.address}' has no workers; start some with "
                f"'dask worker {cluster.address}'."
            )
        yield client
