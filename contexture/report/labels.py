"""Numbers on lines, where they name one line only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from contexture.inputs import FloatArray
from contexture.report.content import Curve
from contexture.report.theme import Theme


def put_numbers(
    axes: Axes, lines: Sequence[tuple[Curve, FloatArray, FloatArray]], theme: Theme
) -> None:
    """Put the number of each coloured context on its line, where other lines are far."""
    box = axes.get_window_extent()
    step = np.linspace(0.0, 1.0, 90)
    paths = {}
    for curve, x, y in lines:
        if curve.colour is None:
            continue
        pixels = axes.transData.transform(np.column_stack([x, y]))
        across = pixels[0, 0] + step * (pixels[-1, 0] - pixels[0, 0])
        paths[curve] = np.column_stack([across, np.interp(across, pixels[:, 0], pixels[:, 1])])
    figure = axes.get_figure()
    unit = figure.dpi / 72 if figure is not None else 1.0
    taken: list[FloatArray] = []
    for curve in sorted(paths, key=lambda curve: curve.number):
        path, margin = paths[curve], 8 * unit
        inside = (
            (path[:, 0] > box.x0 + margin)
            & (path[:, 0] < box.x1 - margin)
            & (path[:, 1] > box.y0 + margin)
            & (path[:, 1] < box.y1 - margin)
        )
        spots = path[inside] if inside.any() else path[-1:]
        room = np.full(len(spots), 24 * unit)
        for other, points in paths.items():
            if other is not curve:
                room = np.minimum(room, _distance(spots, points))
        if taken:
            away = _distance(spots, np.array(taken))
            room = np.where(away < 15 * unit, 0.0, np.minimum(room, 0.6 * away))
        if room.max() < 4 * unit:
            continue  # where lines lie on each other a number would name none of them
        spot = spots[int(np.argmax(room))]
        taken.append(spot)
        x_at, y_at = axes.transData.inverted().transform(spot)
        axes.plot(
            [x_at],
            [y_at],
            marker="o",
            color=theme.colour(curve),
            markerfacecolor=theme.surface,
            markeredgecolor=theme.colour(curve),
            markersize=13,
            markeredgewidth=1.3,
            zorder=5,
            clip_on=False,
            gid=f"disc-{curve.number}",
        )
        axes.text(
            x_at,
            y_at,
            str(curve.number),
            ha="center",
            va="center_baseline",
            color=theme.ink,
            fontsize=8.5,
            zorder=6,
            gid=f"label-{curve.number}",
        )


def _distance(points: FloatArray, others: FloatArray) -> FloatArray:
    apart = points[:, None, :] - others[None, :, :]
    return np.asarray(np.sqrt((apart**2).sum(axis=2)).min(axis=1), dtype=np.float64)
