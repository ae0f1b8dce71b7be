"""``contexture serve``: server, schedule and execution of an audit on one machine."""

from __future__ import annotations

import asyncio
import difflib
import os
import zoneinfo
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import tzlocal
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from contexture.errors import ConfigurationError, ContextureError
from flows.audit import audit
from flows.parameters import AuditParameters
from flows.server import prefect_api
from flows.signals import Stopped, StopRequests

TAGS = ("contexture",)
"""Tags of every deployment of ours, by which they are found in the UI."""

PATIENCE = 60.0
"""Seconds that a run in progress may take to end after it was cancelled."""


def serve(
    parameters: AuditParameters,
    cron: str,
    timezone: str | None = None,
    port: int = 4200,
    say: Callable[[str], None] = partial(print, flush=True),  # noqa: B008 - immutable
) -> None:
    """Run an audit on a schedule until Ctrl-C or SIGTERM.

    A Prefect API that is configured and answers is used, else a server is started on 127.0.0.1
    for as long as this function runs; its history stays. The deployment, ``parameters.name``,
    replaces one of that name; while nobody serves, it is paused. Call it from the main thread.

    Parameters
    ----------
    parameters : AuditParameters
    cron : str
        Five fields (minute, hour, day of the month, month, day of the week), or @daily and such.
    timezone : str, optional
        Name by the IANA; that of this machine by default.
    port : int
        Where a server that has to be started listens.
    say : callable
        Takes the lines that a person should read.

    Raises
    ------
    ConfigurationError
        If the schedule or the time zone cannot be used, or the port is taken.
    ContextureError
        If the Prefect server does not come up, or is lost.
    """
    schedule = parse_schedule(cron, timezone)
    deployment = make_deployment(parameters, schedule)
    with StopRequests() as stop:
        os.environ.setdefault("DO_NOT_TRACK", "1")  # runs inherit it
        try:
            with (
                prefect_api(port, stop, say) as (url, alive),
                temporary_settings({PREFECT_API_URL: url}),
            ):
                asyncio.run(_serve(deployment, schedule, url, alive, stop, say))
        except Stopped:
            pass
    say("Stopped.")


def parse_schedule(cron: str, timezone: str | None = None) -> CronSchedule:
    """Check a cron expression and a time zone.

    Parameters
    ----------
    cron : str
        Five fields, or @hourly, @daily, @weekly, @monthly, @yearly.
    timezone : str, optional
        Name by the IANA; that of this machine by default, else UTC.

    Raises
    ------
    ConfigurationError
        If one of the two is not understood, or the schedule never comes.
    """
    zone = local_timezone() if timezone is None else timezone
    known = zoneinfo.available_timezones()
    if zone not in known:
        spelled = {part.lower(): name for name in known for part in (name.split("/")[-1], name)}
        close = difflib.get_close_matches(zone.lower(), spelled, n=1, cutoff=0.7)
        hint = f"did you mean '{spelled[close[0]]}'?" if close else "an example is Europe/Berlin."
        raise ConfigurationError(f"unknown time zone '{zone}'; {hint}")
    example = "an example is '0 3 * * *', every day at 3:00."
    fields = len(cron.split())
    if fields != 5 and not cron.startswith("@"):
        raise ConfigurationError(
            f"the cron expression '{cron}' has {fields} field(s), but five are needed: minute, "
            f"hour, day of the month, month, day of the week; {example}"
        )
    try:
        schedule = CronSchedule(cron=cron, timezone=zone)
    except ValueError as error:
        raise ConfigurationError(f"'{cron}' is no cron expression; {example}") from error
    try:
        asyncio.run(schedule.get_dates(n=1))
    except ValueError as error:
        raise ConfigurationError(f"the schedule '{cron}' never comes; {example}") from error
    return schedule


def local_timezone() -> str:
    """Name of this machine's time zone; UTC if it has none by the IANA."""
    try:
        name = tzlocal.get_localzone_name()
    except (LookupError, OSError, ValueError):
        return "UTC"
    return name if name in zoneinfo.available_timezones() else "UTC"


def make_deployment(parameters: AuditParameters, schedule: CronSchedule) -> RunnerDeployment:
    """Describe an audit to Prefect: schedule, concurrency limit, tags, parameters.

    Parameters
    ----------
    parameters : AuditParameters
        Relative paths in it start at the working directory.
    schedule : CronSchedule
    """
    contexts = ", ".join(f"`{context.label}`" for context in parameters.contexts)
    deployment = audit.to_deployment(
        name=parameters.name,
        schedule=Cron(schedule.cron, timezone=schedule.timezone),
        paused=False,
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        parameters=as_json(parameters),
        description=(
            f"Audits **{parameters.name}** under {len(parameters.contexts)} context(s): "
            f"{contexts}.\n\nResults go to the Zarr store `{parameters.store_url}`, a new run each "
            "time; what did not change is reused. A run that would overlap another is cancelled."
        ),
        tags=[*TAGS],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(deployment, RunnerDeployment)  # only a coroutine within an event loop
    return deployment


def as_json(parameters: AuditParameters) -> dict[str, Any]:
    """Parameters of the flow as plain values, with absolute paths."""
    absolute = parameters.resolved(Path.cwd())
    return {**absolute.model_dump(mode="json"), "store": parameters.store_url}


async def _serve(
    deployment: RunnerDeployment,
    schedule: CronSchedule,
    url: str,
    alive: Callable[[], bool],
    stop: StopRequests,
    say: Callable[[str], None],
) -> None:
    spared = {process.pid for process in psutil.Process().children(recursive=True)}
    runner = Runner(name=f"contexture-{deployment.name}", query_seconds=5, pause_on_shutdown=True)
    try:
        identity = await runner.aadd_deployment(deployment)
    except (DeploymentApplyError, httpx.HTTPError) as error:
        raise ContextureError(
            f"the Prefect server at {url} did not take the deployment: {error}"
        ) from error
    running = asyncio.create_task(runner.start())
    while not runner.started and not running.done():
        await asyncio.sleep(0.05)
    stop.listen()  # the runner has its own idea of what SIGTERM should do
    times = [date.strftime("%a %Y-%m-%d %H:%M") for date in await schedule.get_dates(n=3)]
    say(f"Deployment:  {url.removesuffix('/api')}/v2/deployments/deployment/{identity}")
    say(f"Next runs:   {', '.join(times)} ({schedule.timezone})")
    say("Run now:     'Run' in that page, or")
    say(f"             PREFECT_API_URL={url} prefect deployment run 'audit/{deployment.name}'")
    say("Stop:        Ctrl-C")
    patience = PATIENCE
    try:
        while not running.done() and not stop.arrived():
            if not alive():
                patience = 0.0  # nobody is left to be told
                raise ContextureError(
                    "the Prefect server ended while it was needed; run the same command again."
                )
            await asyncio.sleep(0.2)
        say("Stopping; a run in progress is cancelled (Ctrl-C again to kill it) ...")
    finally:
        await _finish(runner, running, stop, spared, patience)
    failure = None if running.cancelled() else running.exception()
    if failure is not None:
        raise ContextureError(f"the runs cannot be watched any more: {failure}") from failure


async def _finish(
    runner: Runner,
    running: asyncio.Task[None],
    stop: StopRequests,
    spared: set[int],
    patience: float,
) -> None:
    """Cancel what runs, let the runner pause the schedule, and leave no process behind."""

    async def cancel() -> None:
        if runner.started:
            await runner.astop()
        while not running.done():  # a run that was just about to start comes up later
            await runner.cancel_all()
            await asyncio.sleep(0.5)

    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    cancelling = asyncio.create_task(cancel())
    while not running.done():
        await asyncio.wait({running}, timeout=0.2)
        if stop.arrived() or clock() > deadline:
            for process in psutil.Process().children(recursive=True):
                if process.pid not in spared:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
        if clock() > deadline + 5:
            running.cancel()
    cancelling.cancel()
    await asyncio.wait({cancelling})
