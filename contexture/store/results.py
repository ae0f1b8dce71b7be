"""Results of contexts in a run: written, indexed by what they follow from, and taken over.

What was written of a context counts from the moment its attribute ``complete`` is set.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from contexture.errors import StoreError
from contexture.evaluation import Evaluation, TargetScore
from contexture.scores.association import Sampled
from contexture.store.base import Store, attributes_of
from contexture.store.copies import copy_results, copy_tasks
from contexture.store.naming import as_labels, plain, slug
from contexture.store.place import storage_errors

logger = logging.getLogger(__name__)


def result_key(operator_key: str, settings: Mapping[str, Any]) -> str:
    """Key of a context's results: the operator, and all that scoring it depends on."""
    parts = json.dumps([3, operator_key, dict(settings)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def reuse_context(
    store: Store, run: str, name: str, key: str, attributes: Mapping[str, Any]
) -> bool:
    """Copy a context's results from a run that had the same key.

    Returns
    -------
    bool
        Whether there was one; if not, nothing was written.
    """
    index = attributes_of(store.find(f"results/{key}"))
    if not ("run" in index and "context" in index):  # a kill may have left it without
        return False
    source_run, source_name = str(index["run"]), str(index["context"])
    source = f"runs/{source_run}/contexts/{source_name}"
    group = store.find(source)
    if group is None or group.attrs.get("result_key") != key or not group.attrs.get("complete"):
        return False
    try:
        copy_tasks(store, (source_run, source_name), (run, name))
        copy_results(
            store, f"runs/{source_run}/contexts", source_name, f"runs/{run}/contexts", name
        )
    except StoreError:
        raise
    except (ValueError, RuntimeError) as error:  # what Zarr and its codecs raise of damaged chunks
        logger.warning("results in '%s' are damaged, and made anew (%s)", source, error)
        store.remove(f"runs/{run}/contexts/{name}")
        for task in store.children(f"runs/{run}/tasks"):
            store.remove(f"runs/{run}/tasks/{task}/{name}")
        return False
    if attributes_of(store.find(source)).get("result_key") != key:  # removed meanwhile
        store.remove(f"runs/{run}/contexts/{name}")
        return False
    store.group(f"runs/{run}/contexts/{name}").attrs.update(
        {**plain(dict(attributes)), "context": name, "copied_from": source_run, "complete": True}
    )
    # The newest copy counts: older runs may be removed by hand.
    point_to(store, key, run, name)
    return True


def point_to(store: Store, key: str, run: str, name: str) -> None:
    """Enter into the index where results are; whoever reads it sees both names or none."""
    with storage_errors(store.url):
        store.group(f"results/{key}").attrs.put({"run": run, "context": name})


def write_context(
    store: Store,
    run: str,
    name: str,
    family: str,
    evaluation: Evaluation,
    ids: np.ndarray[Any, Any] | None,
    key: str,
    attributes: Mapping[str, Any],
    complete: bool = True,
) -> None:
    """Write the results of one context into a run, and index them for later runs.

    Parameters
    ----------
    store : Store
    run : str
    name, family : str
        Of the context.
    evaluation : Evaluation
    ids : ndarray of shape (n,), optional
        Names of the inputs; not needed without left functions.
    key : str
        From `result_key`.
    attributes : mapping
        Description of the context and whatever else belongs to its provenance.
    complete : bool
        Whether this is all of them; left functions may follow (`contexture.store.left`).
    """
    for score in evaluation.targets:
        task = f"runs/{run}/tasks/{slug(score.target.name)}"
        with storage_errors(store.url):
            store.group(task).attrs.update({"target": score.target.name, "kind": score.target.kind})
        store.write(f"{task}/{name}", _task_dataset(score))
    data = evaluation.spectrum.to_dataset(None if ids is None else as_labels(ids))
    data["context_value"] = as_labels(data["context_value"].to_numpy())
    useful = evaluation.usefulness
    curve = np.full(evaluation.spectrum.rank, np.nan)  # over d = component; it ends at d_0
    curve[: len(useful.curve)] = useful.curve
    data["usefulness_curve"] = (
        "component",
        curve,
        {"long_name": "usefulness tau_d", "source": "paper, Eq. 4"},
    )
    for variable, (value, description) in _scalars(evaluation).items():
        data[variable] = ((), value, description)
    data.attrs |= plain(
        {
            "context": name,
            "family": family,
            "association": evaluation.association,
            "abstains": useful.abstains,
            "abstention": useful.abstention,
            "beta": useful.beta,
            "reference_draws": evaluation.draws,
            "method": evaluation.spectrum.method,
            "largest_numerical_error": float(np.max(evaluation.spectrum.numerical_error)),
            "max_rank": useful.max_rank,
            "result_key": key,
            **attributes,
        }
    )
    path = f"runs/{run}/contexts/{name}"
    store.write(path, data)
    with storage_errors(store.url):
        if complete:
            store.group(path).attrs["complete"] = True
    point_to(store, key, run, name)


def _scalars(evaluation: Evaluation) -> dict[str, tuple[float, dict[str, str]]]:
    useful, spectrum = evaluation.usefulness, evaluation.spectrum
    errors_over = "over inputs, context values held fixed"
    if evaluation.draws > 1:
        errors_over = "over inputs and draws of the references"

    def sampled(name: str, score: Sampled, text: str, source: str) -> dict[str, Any]:
        how = {"long_name": text, "source": source, "rows": str(score.rows)}
        error = {"long_name": f"standard error of {name} over the rows looked at"}
        return {name: (score.value, how), f"{name}_standard_error": (score.standard_error, error)}

    return {
        "usefulness": (
            useful.value,
            {
                "long_name": "usefulness tau, lower is better",
                "range": f"1 to {1 + useful.beta:g}",
                "source": "paper, Eq. 4",
                "caveat": f"abstains: {useful.abstention}" if useful.abstains else "",
            },
        ),
        "usefulness_standard_error": (
            useful.standard_error,
            {"long_name": errors_over},
        ),
        "best_rank": (useful.best_rank, {"long_name": "d* = argmin of tau_d"}),
        "best_rank_standard_error": (
            useful.best_rank_standard_error,
            {"long_name": errors_over},
        ),
        "decay_rate": (
            evaluation.decay_rate,
            {
                "long_name": "lambda of s_i^2 = exp(-lambda i); small means strong",
                "range": "0 to infinity",
                "source": "paper, Section 5",
            },
        ),
        "total_association": (
            spectrum.total_association,
            {"long_name": "sum of all s_i^2, i >= 1, in closed form", "source": "theory.md §4"},
        ),
        "components": (
            spectrum.components,
            {"long_name": "singular values equal to 1, the trivial one included"},
        ),
        **sampled(
            "kernel_deviation",
            evaluation.kernel_deviation,
            "E |k(x,x') - 1|; small means weak",
            "paper, Section 5",
        ),
        **sampled(
            "lipschitz",
            evaluation.lipschitz,
            "Lipschitz constant of the dual kernel; large means strong",
            "paper, Section 5",
        ),
    }


def _task_dataset(score: TargetScore) -> xr.Dataset:
    data = xr.Dataset(
        {
            "compatibility": (
                (),
                score.pooled.value,
                {"long_name": "rho(f, P+)", "range": "0 to 1", "source": "paper, Def. 13"},
            ),
            "standard_error": ((), score.pooled.standard_error),
            "energy": (
                "function",
                score.pooled.energy,
                {"long_name": "share of the task on each component"},
            ),
        },
        coords={"function": np.arange(1, len(score.pooled.energy) + 1)},
        attrs={
            "target": score.target.name,
            "kind": score.target.kind,
            "observed": score.observed,
            "rows": score.rows,
        },
    )
    if score.classes:
        data["level"] = np.asarray(score.target.levels, dtype=object)
        data["class_compatibility"] = ("level", [c.value for c in score.classes])
        data["class_standard_error"] = ("level", [c.standard_error for c in score.classes])
        data["class_energy"] = (("level", "function"), np.stack([c.energy for c in score.classes]))
    return data
