"""Figures as SVG inside a page: its colours, its fonts, no styles, identifiers of their own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from xml.etree import ElementTree

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contexture.report.theme import Theme, drawing

# Colours that stand for variables of the style sheet, so that a figure follows light and dark.
_STAND_INS = {
    "#000001": "var(--ink)",
    "#000002": "var(--muted)",
    "#000003": "var(--grid)",
    "#000004": "var(--other)",
    "#000005": "var(--surface)",
    **{f"#00000{5 + i}": f"var(--s{i})" for i in range(1, 5)},
    "#00000a": "var(--s5)",
    "#00000b": "var(--s6)",
}
_INK, _MUTED, _GRID, _OTHER, _SURFACE, *_SERIES = _STAND_INS
_THEME = Theme(_INK, _MUTED, _GRID, _OTHER, _SURFACE, tuple(_SERIES))


_PARTS = re.compile(r"^(line|band|minimum|disc|label)-(\d+)$")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG = re.compile(r"-?\d+\.\d{2,}")


def svg_figure(
    name: str,
    label: str,
    titles: Mapping[int, str],
    draw: Callable[[Axes, Theme], None],
) -> str:
    """Draw a figure and make it part of a page.

    Parameters
    ----------
    name : str
        Unique in the page; ASCII letters, digits and dashes.
    label : str
        What the figure shows, for those who cannot see it.
    titles : mapping of int to str
        What pointing at the lines of a context says.
    draw : callable
        Draws on axes, in the colours of a theme.
    """
    with drawing(name):
        figure = Figure(figsize=(480 / 72, 320 / 72), dpi=72)
        figure.patch.set_visible(False)
        axes = figure.add_axes((0.092, 0.15, 0.89, 0.75))
        draw(axes, _THEME)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _inline(stream.getvalue(), name, label, titles)


def _inline(raw: bytes, name: str, label: str, titles: Mapping[int, str]) -> str:
    root = ElementTree.fromstring(raw)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                parent.remove(child)
    text = "".join(" ".join(element.attrib.values()) for element in root.iter())
    used = set(_REFERENCE.findall(text))
    for element in root.iter():
        used |= {v[1:] for k, v in element.attrib.items() if k.endswith("href")}
    for element in list(root.iter()):
        _rewrite(element, name, used, titles)
    root.attrib = {"viewBox": "0 0 480 320", "class": "plot", "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(
    element: ElementTree.Element, name: str, used: set[str], titles: Mapping[int, str]
) -> None:
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if element.tag not in {"text", "tspan"}:
        element.text = None
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    # As attributes they need no exception from the page's content security policy.
    for rule in attributes.pop("style", "").split(";"):
        key, _, value = (piece.strip() for piece in rule.partition(":"))
        if key == "font":
            key, value = "font-size", re.findall(r"[\d.]+px", value)[0]
        if key and key != "stroke-miterlimit":
            attributes[key] = value
    identifier = attributes.pop("id", "")
    if identifier in used:
        attributes["id"] = f"{name}-{identifier}"
    found = _PARTS.match(identifier)
    if found:
        number = int(found[2])
        attributes |= {"class": found[1], "data-context": str(number)}
        title = ElementTree.Element("title")
        title.text = titles.get(number, str(number))
        element.insert(0, title)
    for key, value in attributes.items():
        value = _STAND_INS.get(value, value)
        if key == "href":
            value = f"#{name}-{value[1:]}"
        value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
        if key in {"d", "x", "y", "transform", "width", "height"}:
            value = " ".join(_LONG.sub(lambda found: f"{float(found[0]):.2f}", value).split())
        attributes[key] = value
    element.attrib = attributes
