"""What Dask workers run to decompose an operator and score it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import distributed
import numpy as np
from threadpoolctl import threadpool_limits

from contexture.contexts.base import Context
from contexture.contexts.rbf import RbfRows
from contexture.errors import EvidenceError
from contexture.estimators import decompose_operator
from contexture.estimators.distributed import DistributedProducts
from contexture.estimators.kernel_cluster import ClusterKernelProducts
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_spectrum import kernel_spectrum
from contexture.estimators.options import KernelRoute, Route
from contexture.estimators.products import Products
from contexture.evaluation import Evaluation, evaluate
from contexture.jobs import telling
from contexture.lazy import EvidenceBlocks
from contexture.operator import ExpectationOperator
from contexture.order import Order
from contexture.scores.association import Sampled
from contexture.scores.sampled import sampled_association
from contexture.spectrum import Spectrum
from contexture.store.base import Store
from contexture.store.features import read_features, read_targets
from contexture.store.left import prepare_left
from contexture.store.operators import open_operator
from contexture.store.results import write_context


@dataclass(frozen=True)
class Scoring:
    """Where the operator of a context is, how it is scored, and where the results go.

    Attributes
    ----------
    url, run, features_key, operator_key, targets_key : str
        Where things are in the store.
    result_key : str
        From `contexture.store.results.result_key`.
    context : Context
        Its description.
    seed, max_rank, beta, rank_kept
        As in `contexture.evaluation.evaluate`.
    tolerance : float
        Of the s_i².
    left_functions : bool
        Whether the functions on the inputs are kept.
    route : Route
        That of the plan.
    kernel : KernelRoute
        How a matrix-free one goes.
    memory : int, optional
        Bytes that the basis of an iterative solver may take.
    threads : int
        How many may be used.
    stage : str
        Under which name the flow is told of the progress.
    reference_error : float, optional
        From the plan: expected error of τ against all rows as references, where they are drawn.
    alone : bool
        Whether no other context wants the workers meanwhile.
    """

    url: str
    run: str
    features_key: str
    operator_key: str
    targets_key: str
    result_key: str
    context: Context
    seed: int = 0
    max_rank: int = 512
    beta: float = 1.0
    rank_kept: int = 128
    tolerance: float = 1e-5
    left_functions: bool = True
    route: Route = "auto"
    kernel: KernelRoute = "auto"
    memory: int | None = None
    threads: int = 1
    stage: str = ""
    reference_error: float | None = None
    alone: bool = False

    @property
    def store(self) -> Store:
        """Where everything is."""
        return Store(self.url)

    @property
    def workspace(self) -> Path | None:
        """Folder for what a solver has no memory for: the store's, where it is a folder."""
        return None if "://" in self.url else Path(self.url)

    @property
    def path(self) -> str:
        """Of the group of the results."""
        return f"runs/{self.run}/contexts/{self.context.label}"

    def write(self, evaluation: Evaluation, details: Mapping[str, Any]) -> str:
        """Write the results into the run; left functions that are wanted and not there follow."""
        ids = read_features(self.store, self.features_key).ids
        there = evaluation.spectrum.left.shape[1] == evaluation.spectrum.right.shape[1]
        follow = self.left_functions and not there
        attributes = {
            "description": self.context.model_dump(mode="json"),
            "operator": self.operator_key,
            "features": self.features_key,
            "seed": self.seed,
            "tolerance": self.tolerance,
            "details": dict(details),
        }
        if self.reference_error is not None:
            attributes["reference_error"] = self.reference_error
        write_context(
            self.store, self.run, self.context.label, self.context.family, evaluation,
            np.asarray(ids[:]) if there else None, self.result_key, attributes, not follow,
        )  # fmt: skip
        if follow:
            prepare_left(self.store, self.path, ids)
        return self.path


def compute_scores(
    scoring: Scoring,
    client: distributed.Client | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Decompose an operator, score it, and write the results of the context into a run.

    Parameters
    ----------
    scoring : Scoring
    client : distributed.Client, optional
        Its workers hold the blocks and multiply; without it, P is read into memory.
    progress : callable, optional
        Called with (done, total) while the solver runs.

    Returns
    -------
    str
        Path of the context's group.
    """
    stored = open_operator(scoring.store, scoring.operator_key)
    operator = stored.operator
    with ExitStack() as stack:
        products: Any = None
        if client is None:
            operator = operator.in_memory()
        else:

            def products(lazy: ExpectationOperator) -> Products:
                return stack.enter_context(DistributedProducts(client, lazy))

        stack.enter_context(threadpool_limits(scoring.threads, "blas"))
        spectrum = decompose_operator(
            operator,
            scoring.max_rank,
            scoring.tolerance,
            scoring.seed,
            functions=scoring.rank_kept,
            left_functions=scoring.left_functions,
            memory=scoring.memory,
            workspace=scoring.workspace,
            progress=progress or telling(scoring.stage),
            products=products,
            ordered=stored.order is not None,
            route=scoring.route if scoring.route in ("auto", "exact") else "krylov",
        )
    return _score(scoring, operator, spectrum, stored.details, order=stored.order)


def score_kernel(scoring: Scoring) -> str:
    """Decompose and score a kernel context without its matrix; as `compute_scores`."""
    features = read_features(scoring.store, scoring.features_key)
    evidence = scoring.context.fit(features, scoring.seed)
    if not isinstance(evidence, RbfRows):
        raise EvidenceError(
            f"context '{scoring.context.label}' is no kernel; choose another route."
        )
    with _kernel_products(scoring.alone) as products:
        spectrum = kernel_spectrum(
            evidence,
            scoring.max_rank,
            scoring.tolerance,
            scoring.seed,
            memory=scoring.memory,
            functions=scoring.rank_kept,
            left_functions=scoring.left_functions,
            progress=telling(scoring.stage),
            route=scoring.kernel,
            threads=scoring.threads,
            workspace=scoring.workspace,
            products=products,
        )
    operator = ExpectationOperator(
        EvidenceBlocks(evidence),
        spectrum.input_weights,
        spectrum.context_weights,
        spectrum.context_values,
    )
    sampled = sampled_association(spectrum.context_weights, evidence, features.X, scoring.seed)
    return _score(scoring, operator, spectrum, evidence.details, sampled)


@contextmanager
def _kernel_products(alone: bool) -> Iterator[Callable[..., KernelProducts]]:
    """Tiles of a kernel: of this worker, or of all, where they are on several machines.

    On one machine, the threads that this job may use are all that there are; and beside other
    contexts, every pass would wait for the longest of their jobs.
    """
    if not (alone and _machines() > 1):
        yield KernelProducts
        return
    # This thread only waits and does dense algebra: its place is free for a share of the tiles.
    with distributed.worker_client() as client:
        yield partial(ClusterKernelProducts, client)


def _machines() -> int:
    """How many there are in the cluster of this worker; none outside of one."""
    try:
        distributed.get_worker()
    except ValueError:
        return 0
    workers = distributed.get_client().scheduler_info(n_workers=-1)["workers"].values()
    return len({worker["host"] for worker in workers})


def _score(
    scoring: Scoring,
    operator: ExpectationOperator,
    spectrum: Spectrum,
    details: Mapping[str, Any],
    sampled: tuple[Sampled, Sampled] | None = None,
    order: Order | None = None,
) -> str:
    evaluation = evaluate(
        operator,
        spectrum,
        read_features(scoring.store, scoring.features_key).X,
        read_targets(scoring.store, scoring.features_key),
        max_rank=scoring.max_rank,
        beta=scoring.beta,
        rank_kept=scoring.rank_kept,
        seed=scoring.seed,
        sampled=sampled,
        order=order,
    )
    return scoring.write(evaluation, details)
