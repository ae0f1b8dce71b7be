"""Spectra and usefulness curves as one PNG, for places that show pictures only."""

from __future__ import annotations

import io

from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font
from matplotlib.lines import Line2D
from PIL import Image

from contexture.errors import InputError
from contexture.report.content import Curve, read_curves
from contexture.report.figures import draw_spectra, draw_usefulness
from contexture.report.theme import DASHES, LIGHT, drawing
from contexture.store.audit import Audit

_SHARPNESS = (130, 110, 90, 75, 60, 45)


def spectra_png(audit: Audit, max_bytes: int = 100_000) -> bytes:
    """Draw the spectra (left) and the usefulness curves (right) of an audit.

    The picture has its own light ground, so it can stand on a light and on a dark page.

    Parameters
    ----------
    audit : Audit
    max_bytes : int
        Size that the picture must stay under; it is drawn less sharp if it must.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    InputError
        If no legible picture is that small.
    """
    curves = read_curves(audit)
    with drawing("picture"):
        for dpi in _SHARPNESS:
            picture = _draw(curves, dpi)
            if len(picture) < max_bytes:
                return picture
    raise InputError(
        f"max_bytes is {max_bytes}, but the smallest legible picture of {len(curves)} contexts "
        f"has {len(picture)} bytes; allow more."
    )


def _draw(curves: tuple[Curve, ...], dpi: int) -> bytes:
    shown = [curve for curve in curves if curve.colour is not None]
    entries = len(shown) + (len(shown) < len(curves))
    across = 4 if max(len(curve.name) for curve in shown) <= 24 else 2
    legend = 0.24 * -(-entries // across) + 0.15
    width, height = 11.0, 3.85 + legend
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=LIGHT.surface)
    for left, title, draw in (
        (0.05, "Spectra", draw_spectra),
        (0.55, "Usefulness", draw_usefulness),
    ):
        axes = figure.add_axes((left, (legend + 0.55) / height, 0.43, 2.75 / height))
        draw(axes, curves, LIGHT)
        axes.set_title(title, loc="left", color=LIGHT.ink, fontsize=12, fontweight="bold", pad=24)
    handles = [
        Line2D(
            [], [], color=LIGHT.colour(curve), linewidth=2.0,
            linestyle=(0, DASHES) if curve.dashed else "-",
        )
        for curve in shown
    ]  # fmt: skip
    labels = [f"{curve.number}  {_drawable(curve.name)}" for curve in shown]
    if len(shown) < len(curves):
        handles.append(Line2D([], [], color=LIGHT.other, linewidth=1.2))
        labels.append(f"{len(curves) - len(shown)} others")
    drawn = figure.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0.035, 0.01), ncols=across,
        frameon=False, fontsize=9.5, labelcolor=LIGHT.ink,
    )  # fmt: skip
    for text in drawn.get_texts():
        text.set_parse_math(False)
    drawing, stream = io.BytesIO(), io.BytesIO()
    figure.savefig(drawing, format="png")
    # A palette makes the file three times smaller than true colour, and looks the same.
    with Image.open(drawing) as image:
        image.convert("RGB").quantize(255).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _drawable(name: str, longest: int = 48) -> str:
    """Shorten a name, and replace what the font that comes with matplotlib cannot draw."""
    known = get_font(fontManager.findfont("DejaVu Sans")).get_charmap()
    text = "".join(c if c.isprintable() and ord(c) in known else "?" for c in name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
