"""The ``contexture`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

import contexture
from contexture.contexts import KINDS
from contexture.errors import ConfigurationError, ContextureError
from contexture.estimators.machine import Machine
from contexture.estimators.room import require_room
from contexture.preflight import Preflight, preflight
from contexture.store import Store, open_store, run_table
from contexture.store.base import require_store
from contexture.store.prune import KEEP, find_unused, prune
from flows.cluster import describe, machine_of, silence
from flows.configuration import load_parameters, validate_parameters
from flows.live import Output, OutputError, ProgressListener
from flows.parameters import AuditParameters
from flows.pruned import show_pruned
from flows.terminal import show_contexts, show_plan, show_ranking, show_runs

USER_ERROR = 2
"""Exit code where something that was given cannot be used."""

_INTERRUPTED = 130  # as shells report a process that Ctrl-C ended

# Set before Prefect is imported. What a user has set stands.
_PREFECT = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.
    """
    options = _parser().parse_args(arguments)
    # Without a terminal (a log, a pipe) there is no width to keep to.
    width = None if sys.stdout.isatty() else 120
    console, errors = Output(highlight=False, width=width), Console(stderr=True, highlight=False)
    command: Callable[[argparse.Namespace, Console], None] = options.command
    try:
        command(options, console)
    except ContextureError as error:
        errors.print(f"contexture: {error}", style="red", markup=False, soft_wrap=True)
        return USER_ERROR
    except KeyboardInterrupt:
        errors.print("contexture: interrupted; the same command goes on where this one stopped.")
        return _INTERRUPTED
    except OutputError as error:
        console.on_broken_pipe()  # what is left of it is not tried again at the end
        errors.print(
            f"contexture: the output cannot be written ({error}); what is in the store stays "
            "there.",
            style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
        return USER_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="contexture",
        description="Audit a dataset: which context should a model on it learn from, and is it "
        "any good?",
    )
    parser.add_argument("--version", action="version", version=contexture.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[..., None], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command)
        return sub

    audit = add("audit", _audit, "Audit a corpus and rank its contexts.")
    plan = add("plan", _plan, "Say what an audit would compute, and what it takes.")
    serve = add("serve", _serve, "Audit a corpus on a schedule, with server and UI.")
    for sub in (audit, plan, serve):
        sub.add_argument("config", metavar="CONFIG.yaml", help="configuration of the audit")
        sub.add_argument("--store", metavar="URL", help="Zarr store; overrides the configuration")
        sub.add_argument("--cluster", metavar="ADDRESS", help="address of a running Dask scheduler")
    audit.add_argument(
        "--force", action="store_true", help="compute anew what the store already holds"
    )
    serve.add_argument("--cron", required=True, help='schedule, such as "0 3 * * *"')
    serve.add_argument("--timezone", help="time zone of the schedule, such as Europe/Berlin")
    serve.add_argument("--port", type=int, default=4200, help="port of the server (4200)")

    show = add("show", _show, "Print the ranking of a run again, from the store alone.")
    runs = add("runs", _runs, "List the runs of a store.")
    report = add("report", _report, "Write the HTML report of a run.")
    pruned = add("prune", _prune, "Remove old runs of a store, and what only they needed.")
    for sub in (show, runs, report, pruned):
        sub.add_argument("store", metavar="STORE", help="path or URL of the store")
    for sub in (show, report):
        sub.add_argument(
            "--run", metavar="ID", help="run to read; the latest finished one if left out"
        )
    pruned.add_argument(
        "--keep", type=int, default=KEEP, metavar="N",
        help=f"complete runs of each name that stay, and all that are newer ({KEEP})",
    )  # fmt: skip
    pruned.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    report.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    add("contexts", _contexts, "List every kind of context with its parameters.")
    return parser


def _parameters(options: argparse.Namespace) -> AuditParameters:
    parameters = load_parameters(options.config)
    content = parameters.model_dump(mode="json")
    if options.store is not None:
        content["store"] = options.store
    if options.cluster is not None:
        content["cluster"] = {"kind": "address", "address": options.cluster}
    return validate_parameters(content, options.config)


def _look(parameters: AuditParameters) -> tuple[Preflight, Machine]:
    from contexture.report import require_report_place

    require_store(parameters.store_url)
    require_report_place(parameters.store_url)
    machine = machine_of(parameters.cluster, parameters.store_url)
    found = preflight(
        parameters.corpus.open(),
        parameters.contexts,
        parameters.max_rank,
        parameters.chunk_rows,
        parameters.estimation,
        machine,
        parameters.rank_kept,
    )
    return found, machine


def _plan(options: argparse.Namespace, console: Console) -> None:
    parameters = _parameters(options)
    found, machine = _look(parameters)
    show_plan(console, found, machine, describe(parameters.cluster), parameters.store_url)
    require_room(list(found.plans), machine)


def _audit(options: argparse.Namespace, console: Console) -> None:
    parameters = _parameters(options)
    for name, value in _PREFECT.items():
        os.environ.setdefault(name, value)
    from flows.server import require_api, temporary_api

    require_api()
    silence()
    found, machine = _look(parameters)
    show_plan(console, found, machine, describe(parameters.cluster), parameters.store_url)
    require_room(list(found.plans), machine)
    listener = ProgressListener(console)
    arguments = {name: getattr(parameters, name) for name in AuditParameters.model_fields}
    arguments |= {"contexts": list(parameters.contexts), "store": parameters.store_url}
    with temporary_api() as ready:
        with console.status("starting Prefect and the Dask workers"):
            from contexture.report import report_path
            from flows.audit import audit
            from tasks.corpus import looked_at, question_of
            from tasks.progress import listening
            from tasks.publish import UnwrittenReportError

            ready()
        question = question_of(
            parameters.corpus,
            parameters.contexts,
            parameters.max_rank,
            parameters.rank_kept,
            parameters.chunk_rows,
            parameters.estimation,
        )
        unwritten: UnwrittenReportError | None = None
        with listener.shown(), listening(listener), looked_at(question, found):
            try:
                run = audit(**arguments, force=options.force)
            except UnwrittenReportError as error:
                run, unwritten = error.run, error
    console.print()
    show_ranking(console, open_store(parameters.store_url, run))
    console.print(f"\nrun     {run}", markup=False, soft_wrap=True)
    console.print(f"store   {parameters.store_url}", markup=False, soft_wrap=True)
    if unwritten is not None:
        raise unwritten
    console.print(f"report  {report_path(parameters.store_url)}", markup=False, soft_wrap=True)


def _serve(options: argparse.Namespace, console: Console) -> None:
    parameters = _parameters(options)
    # What can be refused is refused now, not at the first scheduled run.
    found, machine = _look(parameters)
    require_room(list(found.plans), machine)
    from flows.serve import serve

    serve(parameters, cron=options.cron, timezone=options.timezone, port=options.port)


def _show(options: argparse.Namespace, console: Console) -> None:
    show_ranking(console, open_store(options.store, options.run))


def _runs(options: argparse.Namespace, console: Console) -> None:
    show_runs(console, run_table(Store.open(options.store)))


def _prune(options: argparse.Namespace, console: Console) -> None:
    store = Store.open(options.store)
    unused = find_unused(store, options.keep)
    if not options.dry_run:
        prune(store, unused)
    show_pruned(console, unused, options.dry_run)


def _report(options: argparse.Namespace, console: Console) -> None:
    try:
        from contexture.report import write_report
    except ImportError as error:
        raise ConfigurationError(
            f"the report needs {error.name}; install it with: pip install 'contexture[report]'"
        ) from error
    write_report(open_store(options.store, options.run), options.output)
    console.print(f"wrote {options.output}", markup=False, soft_wrap=True)


def _contexts(options: argparse.Namespace, console: Console) -> None:
    del options
    show_contexts(console, KINDS)


if __name__ == "__main__":
    sys.exit(main())
