"""Stages that show the results: artifacts in the Prefect UI, and the HTML report."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from contexture.report import spectra_png, write_report
from contexture.store import Audit, open_store


@task(name="artifacts", cache_policy=NO_CACHE)
def publish_artifacts(url: str, run: str) -> None:
    """Put the ranking as a table, and the spectra as a picture, into the Prefect UI."""
    audit = open_store(url, run)
    name = artifact_key(str(audit.attributes["name"]))
    create_table_artifact(
        key=f"{name}-ranking",
        table=ranking_table(audit),
        description=f"Contexts of {audit.attributes['name']}, best first (run {run}).",
    )
    picture = base64.b64encode(spectra_png(audit)).decode()
    caveats = "\n".join(f"- {_escape(sentence)}" for sentence in audit.caveats())
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
    """Write the HTML report beside the store; returns its path."""
    path = report_path(url)
    write_report(open_store(url, run), path)
    return str(path)


def report_path(url: str) -> Path:
    """Where the report of a store goes: beside it, or into the working directory if remote."""
    name = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr") + ".html"
    return Path(name).absolute() if "://" in url else Path(url).absolute().parent / name


def artifact_key(name: str) -> str:
    """Turn a name into what Prefect allows as a key: lower-case letters, digits and dashes."""
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in safe.split("-") if part) or "audit"


def ranking_table(audit: Audit) -> list[dict[str, Any]]:
    """Scores as rows of plain values, rounded for reading."""
    scores = audit.scores()
    targets = [f"compatibility[{target}]" for target in audit.targets]
    first = ["context", "usefulness", "best_rank", "association", "abstains", *targets]
    ordered = scores[[*first, *(c for c in scores.columns if c not in first)]]
    return [{str(k): _readable(v) for k, v in row.items()} for row in ordered.to_dict("records")]


def _readable(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else str(value)
    return value


def _escape(text: str) -> str:
    # Names come from a corpus; in Markdown they must stay names.
    for character in "\\`*_{}[]<>|#!":
        text = text.replace(character, "\\" + character)
    return text
