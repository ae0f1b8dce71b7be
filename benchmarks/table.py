"""Turn results into the tables of README.md, ratios first.

python -m benchmarks.table benchmarks/results/*.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent / "README.md"
START, END = "<!-- results -->", "<!-- end of results -->"
OURS = {"spectra": "ours-float32", "kernels": "matrix-free"}

Content = dict[str, Any]
Run = dict[str, Any]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a Markdown table; columns but the first are numbers."""
    line = "|---|" + "--:|" * (len(headers) - 1)
    return ["", f"| {' | '.join(headers)} |", line, *(f"| {' | '.join(row)} |" for row in rows), ""]


def machine(content: Content) -> str:
    """Describe the machine in one sentence."""
    found = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB; "
        f"{found['system']}; Python {found['python']}; {versions}."
    )


def commit(content: Content) -> str:
    """Name the state of the project that was measured."""
    return f"at {content['machine']['commit']}" if "commit" in content["machine"] else ""


def side_by_side(content: Content) -> list[str]:
    """Methods on one operator: time and memory over ours, and the accuracy reached."""
    name, lines = str(content["benchmark"]), []
    for case in dict.fromkeys((run["n"], run.get("decay", "")) for run in content["runs"]):
        runs = [run for run in content["runs"] if (run["n"], run.get("decay", "")) == case]
        ours = next((r for r in runs if r["method"] == OURS[name] and r["status"] == "ok"), None)
        reference = next((r["reference"] for r in runs if "reference" in r), "none")
        lines += [
            f"#### n = {case[0]:,}{', ' + case[1] if case[1] else ''}, "
            f"top {content['rank']}; errors against {reference}"
        ]
        rows = [_method(run, ours) for run in sorted(runs, key=_order)]
        lines += table(
            ["method", f"time / {OURS[name]}", "memory / ours", "seconds", "CPU s", "peak MiB",
             "max error s²", "mean error s²", "Δτ", "max residual"], rows,
        )  # fmt: skip
    return lines


def _order(run: Run) -> tuple[int, float]:
    return ("ok", "limit").index(run["status"]) if run["status"] in ("ok", "limit") else 2, run.get(
        "seconds", 0.0
    )


def _method(run: Run, ours: Run | None) -> list[str]:
    if run["status"] not in ("ok", "limit"):
        reason = str(run.get("reason", "-")).replace("|", "/")
        return [run["method"], "–", "–", f"{run['status']}: {reason}", *["–"] * 6]
    over = "> " if run["status"] == "limit" else ""
    ratios = ["–", "–"]
    if ours is not None:
        ratios = [f"{over}{run['seconds'] / ours['seconds']:.2f}",
                  f"{run['peak_mib'] / max(ours['peak_mib'], 1):.2f}"]  # fmt: skip
    if over:
        return [run["method"], *ratios, f"> {run['seconds']:.0f}", *["–"] * 6]
    figures = [f"{run[k]:.1e}" if k in run else "–"
               for k in ("largest_error", "mean_error", "tau_error", "residual")]  # fmt: skip
    times = [f"{run['seconds']:.2f}", f"{run['cpu_seconds']:.2f}", f"{run['peak_mib']:.0f}"]
    return [run["method"], *ratios, *times, *figures]


def growth(content: Content) -> list[str]:
    """Time against rows and rank, and the share of the machine that is reached."""
    rows = []
    for run in content["runs"]:
        start = [f"{run['n']:,}", str(run["rank"]), f"{run['tolerance']:g}"]
        if run["status"] != "ok":
            rows.append([*start, run["status"], run.get("reason", ""), *["–"] * 7])
            continue
        work = run["work"].values()
        rows.append([
            *start, f"{run['seconds']:.2f}", f"{run['cpu_microseconds_a_row']:.0f}",
            f"{run['peak_mib']:.0f}", str(sum(w["passes"] for w in work)),
            f"{sum(w['sparse_flops'] for w in work) / 1e9:.0f}",
            f"{sum(w['dense_flops'] for w in work) / 1e9:.0f}",
            _times(run["seconds"], run["bandwidth_bound"]),
            _times(run["seconds"], run["rate_bound"]), f"{run['largest_error']:.1e}",
        ])  # fmt: skip
    lines = table(
        ["rows", "rank", "tolerance", "seconds", "CPU µs a row", "peak MiB", "passes",
         "sparse Gflop", "dense Gflop", "time / bound of bandwidth and BLAS-3",
         "time / bound with the in-cache sparse rate", "error bound of s²"], rows,
    )  # fmt: skip
    speeds = [run["rates"] for run in content["runs"] if run["status"] == "ok"]
    if speeds:
        best = {name: max(speed[name] for speed in speeds) for name in speeds[0]}
        lines.append(
            f"Measured: triad {best['triad_gb_s']:.1f} GB/s; sgemm {best['sgemm_gflop_s']:.0f}, "
            f"dgemm {best['dgemm_gflop_s']:.0f} GFLOP/s with all cores; sparse times dense in "
            f"cache {best['sparse_float32_gflop_s']:.1f} (float32) and "
            f"{best['sparse_float64_gflop_s']:.1f} (float64) GFLOP/s a core."
        )
    return [*lines, ""]


def _times(seconds: float, bound: float) -> str:
    return f"{seconds / bound:.1f}" if bound > 0 else "–"


def large(content: Content) -> list[str]:
    """One audit of many rows, or its yardstick."""
    if content["task"] == "distances":
        return [
            f"- distances alone, {content['rows']:,} rows × {content['reference']}, "
            f"{content['threads']} threads: {content['seconds']:.0f} s "
            f"(and {content['reading_seconds']:.0f} s to read the rows)"
        ]
    kills = sum(run["killed"] for run in content["runs"])
    return [
        f"- {content['task']} context, {content['rows']:,} rows: {content['seconds']:.0f} s"
        f"{f' ({kills} time(s) killed, and resumed)' if kills else ''}; all processes at most "
        f"{content['peak_pss_mib'] / 1024:.2f} GiB PSS, {content['peak_anonymous_mib'] / 1024:.2f}"
        f" GiB of it anonymous, {content['peak_rss_mib'] / 1024:.2f} GiB RSS; "
        f"τ = {content['scores']['usefulness']:.5f}"
    ]


SECTIONS: dict[str, tuple[str, Callable[[Content], list[str]]]] = {
    "spectra": ("### KNN operators: every method, side by side", side_by_side),
    "kernels": ("### RBF: stored against matrix-free", side_by_side),
    "growth": ("### Growth, and the bound of the machine", growth),
    "large": ("### From Parquet to scores", large),
}


def results(contents: Sequence[Content]) -> str:
    """Return the Markdown of all results."""
    machines = list(dict.fromkeys(map(machine, contents)))
    one = len(machines) == 1
    lines = [f"Machine{'' if one else f' {i}'}: {text}\n" for i, text in enumerate(machines, 1)]
    for name, (title, section) in SECTIONS.items():
        mine = [content for content in contents if content["benchmark"] == name]
        if mine:
            lines += [title, ""]
            for content in mine:
                found = section(content)
                number = machines.index(machine(content)) + 1
                parts = ["" if one else f"on machine {number}", commit(content)]
                where = ", ".join(filter(None, parts))
                # Before a table, else at the end of an only line.
                if where and found[0].startswith("-"):
                    found[0] += f" ({where})"
                elif where:
                    lines += [f"{where[0].upper()}{where[1:]}:", ""]
                lines += found
            lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables between the markers of a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    contents = [json.loads(path.read_text()) for path in options.results]
    page = options.page.read_text(encoding="utf-8")
    before, rest = page.split(START)
    after = rest.split(END)[1]
    text = f"{before}{START}\n{results(contents)}{END}{after}"
    options.page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
