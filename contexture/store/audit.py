"""Reading a finished audit: ``contexture.open_store`` and what it returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from contexture.errors import StoreError, nearest
from contexture.ranking import context_caveats, rank, ranking_caveats
from contexture.store.base import Store
from contexture.store.naming import slug
from contexture.store.runs import DAMAGED, list_runs

SCORES = (
    "usefulness",
    "best_rank",
    "decay_rate",
    "total_association",
    "kernel_deviation",
    "lipschitz",
)
"""Scalar scores in the order in which `Audit.scores` gives them."""

_SPECTRUM = ("singular_value", "standard_error", "numerical_error", "left", "right",
             "function_value")  # fmt: skip

_LARGE = ("left", "right")

_CONTEXT = (*SCORES, "components", "singular_value", "usefulness_curve")

_TASK = ("compatibility", "standard_error", "energy")

_WITH_ERRORS = ("usefulness", "best_rank", "kernel_deviation", "lipschitz")


def open_store(url: str, run: str | None = None) -> Audit:
    """Open a store and one of its finished runs, the latest by default.

    Parameters
    ----------
    url : str
        Folder or fsspec URL.
    run : str, optional
        Id of the run, see ``Audit.runs``.

    Raises
    ------
    StoreError
        If there is no such store or run, or no finished run, or the run is damaged.
    """
    store = Store.open(str(url))
    runs = list_runs(store)
    if run is None:
        complete = [name for name, attributes in runs if attributes.get("status") == "complete"]
        if not complete:
            raise StoreError(
                f"the store '{url}' holds no finished run ({len(runs)} unfinished); "
                "run 'contexture audit' again, it goes on where the last one stopped."
            )
        return Audit(store, complete[-1])
    known = dict(runs)
    if run not in known:
        raise StoreError(f"the store '{url}' has no run '{run}': {nearest(run, known)}")
    status = known[run].get("status")
    if status == DAMAGED:
        raise StoreError(
            f"run '{run}' of the store '{url}' is damaged (its metadata cannot be read); choose "
            "another run, or run 'contexture audit' again."
        )
    if status != "complete":
        raise StoreError(f"run '{run}' is not finished (its status is '{status}').")
    return Audit(store, run)


class Audit:
    """One finished run, read from the store alone.

    Parameters
    ----------
    store : Store
    run : str
        Id of the run.
    """

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.run = run
        group = store.find(f"runs/{run}")
        self.attributes: dict[str, Any] = {} if group is None else dict(group.attrs)
        # A finished run does not change, so what was opened once stays open.
        self._opened: dict[str, xr.Dataset] = {}

    def __repr__(self) -> str:
        return f"<Audit {self.attributes.get('name', '')!r} run {self.run} of {self.store.url!r}>"

    @property
    def contexts(self) -> list[str]:
        """Names of the contexts, in the order of the configuration."""
        return list(self.attributes["contexts"])

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return [str(name) for name in self.attributes["targets"]]

    @property
    def provenance(self) -> dict[str, Any]:
        """Configuration, versions, seed, fingerprints, times and status of the run."""
        return dict(self.attributes)

    def runs(self) -> pd.DataFrame:
        """List all runs of the store: id, name, status, start, finish, contexts."""
        return run_table(self.store)

    def _context(self, name: str) -> xr.Dataset:
        if name not in self.contexts:
            raise StoreError(
                f"run '{self.run}' has no context '{name}': {nearest(name, self.contexts)}"
            )
        return self._read(f"contexts/{name}", _CONTEXT)

    def _read(self, path: str, needed: tuple[str, ...]) -> xr.Dataset:
        """Open a group of the run; all but functions is read at once, to see that it is whole."""
        if path not in self._opened:
            with self._whole(path):
                data = self.store.read(f"runs/{self.run}/{path}")
                for name in needed:
                    if name not in data:
                        raise ValueError(f"'{name}' is missing")
                for variable in data.drop_vars(_LARGE, errors="ignore").variables.values():
                    variable.load()
            self._opened[path] = data
        return self._opened[path]

    @contextmanager
    def _whole(self, path: str = "") -> Iterator[None]:
        """Say in a sentence what Zarr and its codecs raise where a group is damaged.

        Nothing but reads of the store may be inside.
        """
        try:
            yield
        # A missing group is a ValueError as well, and so is JSON that cannot be parsed.
        except (ValueError, RuntimeError) as error:
            where = f" at '{path}'" if path else ""
            what = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
            raise StoreError(
                f"run '{self.run}' of the store '{self.store.url}' is damaged{where} "
                f"({what.rstrip('.')}); choose another run, or run 'contexture audit' again."
            ) from error

    def spectrum(self, context: str) -> xr.Dataset:
        """Spectrum of a context.

        Parameters
        ----------
        context : str
            Its name.

        Returns
        -------
        xarray.Dataset
            ``singular_value``, ``standard_error`` and ``numerical_error`` over ``component``;
            ``left`` over (``sample``, ``function``) if the run kept it, ``right`` over
            (``context_value``, ``function``). The functions are lazy.

        Raises
        ------
        StoreError
            If the run has no such context, or it is damaged.
        """
        data = self._context(context)
        return data[[name for name in _SPECTRUM if name in data]]

    def usefulness_curve(self, context: str) -> xr.DataArray:
        """τ_d of a context over ``component`` d = 1 .. d_0 (paper, Eq. 4)."""
        return self._context(context)["usefulness_curve"]

    def task(self, target: str, context: str) -> xr.Dataset:
        """Compatibility of a target with a context, its energies, and those of its classes.

        Raises
        ------
        StoreError
            If the run has no such target or context, or they are damaged.
        """
        if target not in self.targets:
            raise StoreError(
                f"run '{self.run}' has no target '{target}': {nearest(target, self.targets)}"
            )
        self._context(context)
        return self._read(f"tasks/{slug(target)}/{context}", _TASK)

    def scores(self, errors: bool = False) -> pd.DataFrame:
        """All scores, one row a context, best first; contexts whose τ abstains come last.

        Parameters
        ----------
        errors : bool
            Add a column ``<score>_standard_error`` for every score that has one.

        Returns
        -------
        pandas.DataFrame
            Columns ``context``, ``family``, ``usefulness``, ``best_rank``, ``decay_rate``,
            ``total_association``, ``kernel_deviation``, ``lipschitz``, ``association``,
            ``abstains``, ``components``, and ``compatibility[target]`` for every target.
        """
        rows = []
        for name in self.contexts:
            data = self._context(name)
            row: dict[str, Any] = {"context": name, "family": data.attrs["family"]}
            row |= {score: data[score].item() for score in SCORES}
            row["association"] = data.attrs["association"]
            row["abstains"] = bool(data.attrs["abstains"])
            row["components"] = int(data["components"].item())
            names = [f"{score}_standard_error" for score in _WITH_ERRORS]
            # Runs made by an earlier version lack some.
            extra = {each: data[each].item() if each in data else np.nan for each in names}
            for target in self.targets:
                task = self.task(target, name)
                row[f"compatibility[{target}]"] = task["compatibility"].item()
                extra[f"compatibility[{target}]_standard_error"] = task["standard_error"].item()
            rows.append(row | extra if errors else row)
        return rank(pd.DataFrame(rows))

    def caveats(self) -> list[str]:
        """List what to know before acting on the ranking, one sentence each."""
        notes = ranking_caveats(self.scores(), self._abstentions())
        for name in self.contexts:
            data = self._context(name)
            wanted = int(self.attributes["configuration"]["max_rank"])
            if int(data.attrs["max_rank"]) < wanted:
                notes.append(
                    f"{name}: only {data.attrs['max_rank']} singular values exist, so d_0 is "
                    f"{data.attrs['max_rank']} instead of {wanted}; compare τ only at equal d_0."
                )
        for target in self.targets:
            task = self.task(target, self.contexts[0])
            missing = int(task.attrs["rows"]) - int(task.attrs["observed"])
            if missing:
                notes.append(
                    f"target {target}: {missing} of {task.attrs['rows']} values are missing and "
                    "count as the mean in its compatibility."
                )
        contexts = {name: self._context(name).attrs for name in self.contexts}
        return [*notes, *context_caveats(contexts)]

    def _abstentions(self) -> dict[str, str]:
        return {name: str(self._context(name).attrs["abstention"]) for name in self.contexts}

    def tree(self) -> xr.DataTree:
        """Return the whole run as an xarray DataTree."""
        with self._whole():
            return xr.open_datatree(
                self.store.url, group=f"runs/{self.run}", engine="zarr", consolidated=False
            )


def run_table(store: Store) -> pd.DataFrame:
    """List the runs of a store, oldest first.

    Returns
    -------
    pandas.DataFrame
        Columns ``run``, ``name``, ``status``, ``started``, ``finished``, ``contexts``, ``rows``.
    """
    rows = [
        {
            "run": run,
            "name": attributes.get("name", ""),
            "status": attributes.get("status", ""),
            "started": attributes.get("started", ""),
            "finished": attributes.get("finished", ""),
            "contexts": len(attributes.get("contexts", [])),
            "rows": attributes.get("rows", np.nan),
        }
        for run, attributes in list_runs(store)
    ]
    columns = ["run", "name", "status", "started", "finished", "contexts", "rows"]
    return pd.DataFrame(rows, columns=columns)
