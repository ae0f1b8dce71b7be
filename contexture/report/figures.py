"""The figures, drawn by matplotlib without pyplot and without any text of the corpus.

Lines bear the number of their context in the ranking; names stand in the page around them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from contexture.inputs import FloatArray
from contexture.report.content import Curve
from contexture.report.labels import put_numbers
from contexture.report.theme import DASHES, Theme


def draw_spectra(axes: Axes, curves: Sequence[Curve], theme: Theme) -> None:
    """s_i² against i with bands of two standard errors."""
    longest = max(len(curve.squares) for curve in curves)
    _frame(axes, theme, longest, "component i", "s²")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    lines = []
    for curve in reversed(curves):
        at = _thinned(len(curve.squares))
        x, y, error = at + 1.0, curve.squares[at], 2 * curve.squares_error[at]
        if curve.colour is not None and np.isfinite(error).all():
            axes.fill_between(
                x,
                np.clip(y - error, 0, 1),
                np.clip(y + error, 0, 1),
                color=theme.colour(curve),
                alpha=0.16,
                linewidth=0,
                gid=f"band-{curve.number}",
            )
        _line(axes, curve, x, y, theme)
        lines.append((curve, x, y))
    put_numbers(axes, lines, theme)


def draw_usefulness(axes: Axes, curves: Sequence[Curve], theme: Theme) -> None:
    """τ_d against d, the minima marked, and the line 1 + β at which τ says nothing."""
    longest = max(len(curve.usefulness) for curve in curves)
    _frame(axes, theme, longest, "dimensions d", "τ")
    beta = max(curve.beta for curve in curves)
    nothing = 1 + beta
    lowest = min(curve.value for curve in curves)
    gap = nothing - lowest
    low = max(1.0, lowest - 0.2 * gap - 0.05 * beta)
    high = nothing + 0.3 * beta + 0.4 * gap
    axes.set_ylim(low, high)
    axes.axhline(nothing, color=theme.muted, linewidth=0.9, dashes=(1.2, 2.2), zorder=1.5)
    ticks = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    apart = [t for t in ticks if low <= t <= high and abs(t - nothing) > 0.04 * (high - low)]
    axes.yaxis.set_major_locator(FixedLocator([*apart, nothing]))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "1 + β" if value == nothing else f"{value:.4g}")
    )
    lines = []
    for curve in reversed(curves):
        at = np.union1d(_thinned(len(curve.usefulness)), [curve.best_rank - 1])
        # Far above the figure is far enough; infinite where s = 1 repeats.
        x, y = at + 1.0, np.minimum(curve.usefulness[at], high + 10 * (high - low))
        _line(axes, curve, x, y, theme)
        lines.append((curve, x, y))
    for curve in reversed(curves):
        axes.plot(
            [curve.best_rank],
            [curve.value],
            marker="o",
            markersize=5.5 if curve.colour is not None else 3,
            color=theme.colour(curve),
            markerfacecolor=theme.surface if curve.abstention else theme.colour(curve),
            markeredgewidth=1.4,
            zorder=4,
            clip_on=False,
            gid=f"minimum-{curve.number}",
        )
    put_numbers(axes, lines, theme)


def draw_energy(
    axes: Axes, curves: Sequence[Curve], energies: Sequence[FloatArray], theme: Theme
) -> None:
    """Share of a task that lies on the first d components."""
    longest = max(1, *(len(energy) for energy in energies))
    _frame(axes, theme, longest, "components d", "share")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    lines = []
    for curve, energy in reversed(list(zip(curves, energies, strict=True))):
        if not len(energy):
            continue
        at = _thinned(len(energy))
        x, y = at + 1.0, np.minimum(np.cumsum(np.nan_to_num(energy))[at], 1.0)
        _line(axes, curve, x, y, theme)
        lines.append((curve, x, y))
    put_numbers(axes, lines, theme)


def _frame(axes: Axes, theme: Theme, longest: int, across: str, up: str) -> None:
    axes.patch.set_visible(False)
    axes.set_xscale("log")
    axes.set_xlim(0.92, max(longest, 2) * 1.06)
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= longest]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.muted)
        spine.set_linewidth(0.8)
    axes.tick_params(axis="x", color=theme.muted, labelcolor=theme.muted, labelsize=10, length=3)
    axes.tick_params(axis="y", length=0, labelcolor=theme.muted, labelsize=10, pad=5)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(across, color=theme.ink, fontsize=10.5, labelpad=5)
    axes.annotate(
        up,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-5, 9),
        textcoords="offset points",
        ha="right",
        color=theme.ink,
        fontsize=10.5,
    )


def _line(axes: Axes, curve: Curve, x: FloatArray, y: FloatArray, theme: Theme) -> None:
    (line,) = axes.plot(
        x,
        y,
        color=theme.colour(curve),
        linewidth=1.0 if curve.colour is None else 2.4 if curve.number == 1 else 1.6,
        zorder=2 if curve.colour is None else 3,
        gid=f"line-{curve.number}",
        marker="o" if len(x) == 1 else "",
    )
    if curve.dashed:
        line.set_dashes(DASHES)


def _thinned(length: int, points: int = 140) -> np.ndarray:
    """Choose indices that lie evenly on a logarithmic axis, the first and the last included."""
    if length == 0:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.geomspace(1, length, points).round().astype(np.int64)) - 1
