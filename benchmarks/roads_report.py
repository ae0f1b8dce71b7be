"""Tables and figure of the experiment `benchmarks.roads`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import stats

from contexture.inputs import FloatArray

COMPONENTS = (1, 2, 5, 10, 20, 50, 100, 200)
GROUP = 4
"""Draws of which one mean and its standard error are made."""

Run = dict[str, Any]


def sizes(run: Run) -> list[int]:
    """Every m of a run, ascending."""
    return sorted({draw["m"] for draw in run["draws"]})


def deviations(run: Run, m: int) -> tuple[FloatArray, FloatArray]:
    """Estimate less whole-graph value: of τ, shape (R,), and of s_i², shape (R, COMPONENTS)."""
    draws = [draw for draw in run["draws"] if draw["m"] == m]
    at = [i - 1 for i in COMPONENTS]
    tau = np.array([draw["tau"] for draw in draws]) - run["whole"]["tau"]
    values = np.array([np.array(draw["eigenvalues"])[at] for draw in draws])
    return tau, values - np.array(run["whole"]["eigenvalues"])[at]


def coverage(run: Run, m: int, level: float = 0.95) -> tuple[float, float, int]:
    """Share of intervals mean ± t·SE of 4 draws that hold the whole-graph value.

    Returns
    -------
    tau, values : float
        Of τ, and of the s_i² at `COMPONENTS`.
    groups : int
        Of 4 draws.
    """
    t = float(stats.t.ppf((1 + level) / 2, GROUP - 1))
    held = []
    for part in deviations(run, m):
        groups = len(part) // GROUP
        split = part[: groups * GROUP].reshape(groups, GROUP, -1)
        error = split.std(axis=1, ddof=1) / np.sqrt(GROUP)
        held.append(float(np.mean(np.abs(split.mean(axis=1)) <= t * error)))
    return held[0], held[1], groups


def power_law(m: Sequence[float], error: Sequence[float]) -> tuple[float, float]:
    """Fit error ≈ a·m^(−b) by least squares of the logarithms; returns a and b."""
    slope, level = np.polyfit(np.log(m), np.log(np.maximum(error, 1e-12)), 1)
    return float(np.exp(level)), float(-slope)


def rule(runs: Sequence[Run], rank: int) -> dict[str, float]:
    """Fit spread, |bias| and root mean square error of τ against m, where m exceeds d_0.

    Several runs are fitted as one; ``worst`` is the largest root mean square error over the
    fitted one. Nothing is fitted to fewer than three points.
    """
    used = [(run, m) for run in runs for m in sizes(run) if m > rank]
    found: dict[str, float] = {}
    if len(used) >= 3:
        at = [float(m) for _, m in used]
        tau = [deviations(run, m)[0] for run, m in used]
        spread = [float(part.std(ddof=1)) for part in tau]
        bias = [abs(float(part.mean())) for part in tau]
        total = [float(np.sqrt(np.mean(part**2))) for part in tau]
        for name, error in (("spread", spread), ("bias", bias), ("total", total)):
            found[f"{name}_a"], found[f"{name}_b"] = power_law(at, error)
        fitted = found["total_a"] * np.array(at) ** -found["total_b"]
        found["worst"] = float(np.max(np.array(total) / fitted))
    return found


def tables(content: dict[str, Any]) -> str:
    """Return the Markdown of all tables."""
    lines, rank = [], int(content["rank"])
    for run in content["runs"]:
        whole = run["whole"]
        lines += [
            f"### {run['data']}, {run['context']}: {run['rows']:,} rows, "
            f"{run['features']} features, {run['distinct']:,} rows different",
            "",
            f"Over all rows: τ = {whole['tau']:.4f}, d\\* = {whole['best_rank']}, "
            f"{whole['components']} part(s), {run['seconds']:.0f} s.",
            "",
            "| m | draws | seconds a draw | τ: mean error | spread | bias / spread | "
            "coverage τ | max mean error of s_i², i ≤ 200 | mean spread of s_i² | coverage s_i² |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for m in sizes(run):
            tau, values = deviations(run, m)
            of_tau, of_values, groups = coverage(run, m)
            took = np.median([draw["seconds"] for draw in run["draws"] if draw["m"] == m])
            note = "" if m > rank else "\\*"
            lines.append(
                f"| {m}{note} | {len(tau)} | {took:.1f} | {tau.mean():+.4f} | {tau.std(ddof=1):.4f}"
                f" | {tau.mean() / tau.std(ddof=1):+.1f} | {of_tau * groups:.0f}/{groups}"
                f" | {np.abs(values.mean(axis=0)).max():.4f}"
                f" | {values.std(axis=0, ddof=1).mean():.4f} | {of_values:.0%} |"
            )
        lines.append("")
    lines += [
        "### The rule",
        "",
        "Fitted to the sizes above d_0: spread (standard deviation of one draw), |bias| and root "
        "mean square error of τ as a·m^(−b).",
        "",
        "| data | context | spread a | b | bias a | b | total a | b | worst / fit | m for 0.02 | "
        "m for 0.01 |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    parts = [(run["data"], [run]) for run in content["runs"]]
    for kind in dict.fromkeys(run["kind"] for run in content["runs"]):
        parts.append(("all together", [run for run in content["runs"] if run["kind"] == kind]))
    for name, runs in parts:
        fit = rule(runs, rank)
        if fit:
            cells = [f"{fit[f'{k}_{p}']:.3g}" for k in ("spread", "bias", "total") for p in "ab"]
            cells += [f"{fit['worst']:.1f}", *(_needed(fit, error) for error in (0.02, 0.01))]
            lines.append(f"| {name} | {runs[0]['context']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _needed(fit: dict[str, float], error: float) -> str:
    a, b = fit["total_a"], fit["total_b"]
    if b <= 0.05:
        return "none"
    m = (a / error) ** (1 / b)
    return f"{m:,.0f}" if m < 1e6 else "> 1e6"


def figure(content: dict[str, Any], path: Path) -> None:
    """Draw the error of τ, and of s_i², against m."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(run["data"] for run in content["runs"]))
    grid, axes = plt.subplots(
        2, len(names), figsize=(4 * len(names), 6.4), sharex=True, squeeze=False, sharey="row"
    )
    colours = {"knn": "#1f6f8b", "rbf": "#c2571a"}
    for run in content["runs"]:
        column, colour = names.index(run["data"]), colours[run["kind"]]
        every = sizes(run)
        shift = 0.98 if run["kind"] == "knn" else 1.02
        upper, lower = axes[0, column], axes[1, column]
        label = f"{run['context']}, n = {run['rows']:,}"
        for m in every:
            tau, values = deviations(run, m)
            upper.plot(np.full(len(tau), m * shift), tau, ".", color=colour, alpha=0.5, ms=5)
            mean = float(np.abs(values.mean(axis=0)).max())
            spread = float(values.std(axis=0, ddof=1).mean())
            lower.plot(m, mean, "o", color=colour, ms=5)
            lower.plot(m, spread, "o", color=colour, ms=5, mfc="none")
        means = [float(deviations(run, m)[0].mean()) for m in every]
        upper.plot([m * shift for m in every], means, "-", color=colour, lw=1.4, label=label)
        upper.set_title(run["data"])
        upper.axhline(0, color="0.6", lw=0.8)
        upper.axvline(content["rank"], color="0.8", lw=0.8, ls=":")
        upper.legend(frameon=False, fontsize=8)
    for lower in axes[1]:
        lower.set(xscale="log", yscale="log", xlabel="references m")
        lower.set_xticks([250, 500, 1000, 2000, 4000], ["250", "500", "1000", "2000", "4000"])
        lower.minorticks_off()
    axes[0, 0].set_ylabel("τ of a draw − τ over all rows\n(dotted: m = d_0)")
    axes[1, 0].set_ylabel("error of s_i²: ● largest bias\n○ mean spread of one draw")
    grid.tight_layout()
    grid.savefig(path, dpi=110)
    plt.close(grid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figure, and the tables between the markers of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    content = json.loads(options.results.read_text())
    page = options.folder / "reference-sets.md"
    start, end = "<!-- tables -->", "<!-- end of tables -->"
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(start)
    after = rest.split(end)[1]
    page.write_text(f"{before}{start}\n{tables(content)}{end}{after}", encoding="utf-8")
    figure(content, options.folder / "reference-sets.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
