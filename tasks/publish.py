"""Stages that show the results: artifacts in the Prefect UI, and the HTML report."""

from __future__ import annotations

import base64

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from contexture.errors import InputError, StorageFullError
from contexture.report import report_path, require_report_place, spectra_png, write_report
from contexture.report.content import Content
from contexture.report.tables import ranking_rows
from contexture.store import Audit, open_store


class UnwrittenReportError(InputError):
    """The audit is done and in the store, but its report cannot be written.

    Attributes
    ----------
    run : str
        Id of the run.
    """

    run = ""


@task(name="artifacts", cache_policy=NO_CACHE)
def publish_artifacts(url: str, run: str) -> None:
    """Put the ranking as a table, and the spectra as a picture, into the Prefect UI."""
    audit = open_store(url, run)
    name = artifact_key(str(audit.attributes["name"]))
    caveats = "\n".join(f"- {_escape(sentence)}" for sentence in audit.caveats())
    create_table_artifact(
        key=f"{name}-ranking",
        table=ranking_table(audit),
        description=(
            f"Contexts of {audit.attributes['name']}, best first (run {run}). Lower τ is better; ± "
            "is one standard error, and d\\* the number of dimensions the context deserves.\n\n"
            f"{caveats}\n"
        ),
    )
    picture = base64.b64encode(spectra_png(audit)).decode()
    create_markdown_artifact(
        key=f"{name}-spectra",
        markdown=(
            f"# Spectra and usefulness\n\n![spectra](data:image/png;base64,{picture})\n\n"
            f"## Caveats\n\n{caveats}\n\n`{url}`, run `{run}`\n"
        ),
        description=f"Spectra of the contexts of {audit.attributes['name']}.",
    )


@task(name="report", cache_policy=NO_CACHE)
def write_report_file(url: str, run: str) -> str:
    """Write the HTML report beside the store; returns its path.

    Raises
    ------
    UnwrittenReportError
        If that is not possible.
    """
    audit, path = open_store(url, run), report_path(url)
    try:
        require_report_place(url)  # as before the work; it may have taken days
        write_report(audit, path)
    except (InputError, StorageFullError) as error:
        unwritten = UnwrittenReportError(
            f"{error} All results are in the store: 'contexture report {url} -o FILE' writes the "
            "report from it."
        )
        unwritten.run = run
        raise unwritten from error
    return str(path)


def artifact_key(name: str) -> str:
    """Turn a name into what Prefect allows as a key: lower-case letters, digits and dashes."""
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in safe.split("-") if part) or "audit"


def ranking_table(audit: Audit) -> list[dict[str, str]]:
    """Scores as rows of text, with their standard errors."""
    return ranking_rows(Content.read(audit))


def _escape(text: str) -> str:
    # Names come from a corpus; in Markdown they must stay names.
    for character in "\\`*_{}[]<>|#!":
        text = text.replace(character, "\\" + character)
    return text
