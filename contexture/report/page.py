"""The HTML page: one file, nothing fetched, everything that comes from the corpus escaped."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import secrets
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from contexture.errors import InputError, StorageFullError
from contexture.report import tables
from contexture.report.content import COLOURED, Content, Task
from contexture.report.figures import draw_energy, draw_spectra, draw_usefulness
from contexture.report.numbers import fixed
from contexture.report.svg import svg_figure
from contexture.report.verdict import judge
from contexture.scores.usefulness import ABSTENTION_MARGIN, NEGLIGIBLE
from contexture.store.audit import Audit


def render_report(audit: Audit) -> str:
    """Write an audit as one HTML page that opens offline and needs nothing else.

    The same audit gives the same page, to the letter.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    str
        A whole HTML document.
    """
    content = Content.read(audit)
    curves = content.curves
    titles = {c.number: f"{c.number}  {c.name}: τ = {fixed(c.value)}" for c in curves}
    many = f"{len(curves)} contexts" if len(curves) > 1 else "one context"
    provenance = audit.provenance
    style, script = _text("report.css"), _text("report.js")
    return _template().render(
        name=provenance.get("name") or "audit",
        run=audit.run,
        rows=provenance.get("rows"),
        curves=curves,
        coloured=curves[:COLOURED],
        tasks=content.tasks,
        verdict=judge(curves),
        beta=curves[0].beta,
        margin=ABSTENTION_MARGIN,
        negligible=NEGLIGIBLE,
        ranks=sorted({len(curve.usefulness) for curve in curves}),
        spectra=Markup(
            svg_figure(
                "spectra",
                f"Squared singular values against the component for {many}.",
                titles,
                lambda axes, theme: draw_spectra(axes, curves, theme),
            )
        ),
        usefulness=Markup(
            svg_figure(
                "usefulness",
                f"Usefulness against the number of dimensions for {many}.",
                titles,
                lambda axes, theme: draw_usefulness(axes, curves, theme),
            )
        ),
        energies=[_energy(task, at, content, titles) for at, task in enumerate(content.tasks)],
        tables=tables,
        content=content,
        caveats=audit.caveats(),
        facts=tables.facts(provenance),
        configuration=tables.configuration(provenance),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def write_report(audit: Audit, path: str | Path) -> None:
    """Write the page of `render_report` into a file, whole or not at all.

    Parameters
    ----------
    audit : Audit
    path : str or Path
        An existing file is replaced.

    Raises
    ------
    InputError
        If the folder does not exist, or may not be written.
    StorageFullError
        If there is no room.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(
            f"cannot write the report '{path}': there is no folder '{path.parent}'; "
            "make it, or choose another path."
        )
    if path.is_dir():
        raise InputError(
            f"cannot write the report '{path}': that is a folder; "
            "name a file in it, such as report.html."
        )
    if path.exists() and not path.is_file():
        raise InputError(
            f"cannot write the report '{path}': that is no ordinary file; choose another path."
        )
    page = render_report(audit).encode("utf-8", "replace")
    path = Path(os.path.realpath(path))  # of a link, what it leads to is replaced
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        try:
            part.write_bytes(page)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFullError(
                f"no space is left for the report '{path}'; free some, or choose another path."
            ) from error
        raise InputError(
            f"cannot write the report '{path}' ({error.strerror}); choose another path."
        ) from error


def _energy(task: Task, at: int, content: Content, titles: dict[int, str]) -> Markup:
    if task.constant:
        return Markup("")
    return Markup(
        svg_figure(
            f"energy-{at}",
            "Share of the target that lies on the first components, by context.",
            titles,
            lambda axes, theme: draw_energy(axes, content.curves, task.energies, theme),
        )
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text("report.html.jinja"))


@cache
def _text(name: str) -> str:
    return files("contexture.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
