"""Audits of many rows: one command from Parquet to scores, its time and its memory.

    python -m benchmarks.large generate --rows 10000000 --folder /data/mixture
    python -m benchmarks.large run --folder /data/mixture --context reference --out run.json
    python -m benchmarks.large run --folder /data/mixture --context reference --kill-after 60 ...
    python -m benchmarks.large distances --folder /data/mixture --out distances.json

`run` starts ``contexture audit`` and adds up the memory of all its processes four times a second.
`distances` is the yardstick: the distances of the reference context alone, on the same rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import contexture as cx
from benchmarks.data import CHUNK, mixture_chunks
from benchmarks.machine import describe
from benchmarks.processes import audited
from contexture.contexts.distances import squared_distances
from contexture.inputs import FloatArray

CHUNKS_A_FILE = 8
CONTEXTS: dict[str, dict[str, Any]] = {
    "reference": {"kind": "knn", "fraction": 0.01, "reference": 2048},
    "whole": {"kind": "knn", "k": 30},
}
ROWS_A_TILE = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, run or measure the yardstick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(required=True)
    new = commands.add_parser("generate", help="write rows of the mixture to Parquet files")
    new.add_argument("--rows", type=int, required=True)
    new.add_argument("--columns", type=int, default=16)
    new.add_argument("--type", choices=["float32", "float64"], default="float32")
    new.add_argument("--seed", type=int, default=0)
    new.set_defaults(command=generate)
    run = commands.add_parser("run", help="audit them")
    run.add_argument("--context", choices=list(CONTEXTS), default="reference")
    run.add_argument("--max-rank", type=int, default=512)
    run.add_argument("--draws", type=int, default=1, help="of the references")
    run.add_argument("--workers", type=int)
    run.add_argument("--memory", help="of a worker, such as 1GiB")
    run.add_argument("--store", type=Path, help="beside the folder by default")
    run.add_argument("--same-as", type=Path, help="JSON of a run with which the scores must agree")
    run.add_argument("--kill-after", help="seconds, or a text such as 'knn-30: operator: done'")
    run.add_argument("--kill-delay", type=float, default=0.0, help="seconds after that text")
    run.set_defaults(command=run_audit)
    yardstick = commands.add_parser("distances", help="time the distances alone")
    yardstick.add_argument("--reference", type=int, default=2048)
    yardstick.add_argument("--threads", type=int)
    yardstick.set_defaults(command=distances)
    for sub in (new, run, yardstick):
        sub.add_argument("--folder", type=Path, required=True)
    for sub in (run, yardstick):
        sub.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    content: dict[str, Any] | None = options.command(options)
    if content is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        whole = {"benchmark": "large", "machine": describe(), **content}
        options.out.write_text(json.dumps(whole, indent=1) + "\n")
    return 0


def generate(options: argparse.Namespace) -> None:
    """Write files of eight row groups, one chunk in memory at a time."""
    options.folder.mkdir(parents=True, exist_ok=True)
    names = [f"x{i}" for i in range(options.columns)]
    kind, writer, file = np.dtype(options.type), None, 0
    for i, (X, target) in enumerate(mixture_chunks(options.rows, options.columns, options.seed)):
        columns = {name: X[:, j].astype(kind) for j, name in enumerate(names)}
        group = pa.table({**columns, "target": target})
        if i % CHUNKS_A_FILE == 0:
            if writer is not None:
                writer.close()
            path, file = options.folder / f"part-{file:05d}.parquet", file + 1
            writer = pq.ParquetWriter(path, group.schema, compression="zstd")
        if writer is not None:
            writer.write_table(group, row_group_size=CHUNK)
    if writer is not None:
        writer.close()


def run_audit(options: argparse.Namespace) -> dict[str, Any]:
    """Audit the folder, killed once if that is asked for, and look at the scores."""
    store = (options.store or options.folder.with_suffix(f".{options.context}.zarr")).resolve()
    if store.exists():
        raise SystemExit(f"'{store}' holds results already; remove it, or give another --store")
    context = CONTEXTS[options.context]
    cluster: dict[str, Any] = {"kind": "local"}
    cluster |= {"workers": options.workers} if options.workers else {}
    cluster |= {"memory": options.memory} if options.memory else {}
    configuration = {
        "name": "mixture", "contexts": [context], "store": str(store), "cluster": cluster,
        "corpus": {"reader": "parquet", "path": str(options.folder.resolve()),
                   "targets": ["target"]},
        "max_rank": options.max_rank, "estimation": {"draws": options.draws},
    }  # fmt: skip
    path = options.out.with_suffix(".yaml").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(configuration))
    runs = []
    if options.kill_after is not None:
        runs.append(audited(path, options.kill_after, options.kill_delay))
    runs.append(audited(path))
    if runs[-1]["code"] != 0:
        raise SystemExit(f"the audit ended with {runs[-1]['code']}: {runs[-1]['output'][-2000:]}")
    scores = _scores(store)
    if options.same_as is not None:
        _require_same(scores, json.loads(options.same_as.read_text())["scores"])
    return {
        "task": options.context, "context": context, "draws": options.draws,
        "rows": _rows(options.folder),
        "seconds": sum(run["seconds"] for run in runs), "runs": runs, "scores": scores,
        **{peak: max(run[peak] for run in runs)
           for peak in ("peak_pss_mib", "peak_anonymous_mib", "peak_rss_mib")},
    }  # fmt: skip


def _scores(store: Path) -> dict[str, Any]:
    table = cx.open_store(str(store)).scores(errors=True)
    row = table.iloc[0]
    if not (len(table) == 1 and 1 < row["usefulness"] <= 2):
        raise SystemExit(f"these are no scores:\n{table}")
    return {str(name): getattr(value, "item", lambda v=value: v)() for name, value in row.items()}


def _require_same(scores: dict[str, Any], before: dict[str, Any]) -> None:
    for name, value in before.items():
        same = None
        if isinstance(value, float):
            same = np.isclose(scores[name], value, 1e-6, equal_nan=True)
        if not (scores[name] == value if same is None else same):
            raise SystemExit(f"{name} is {scores[name]}, and was {value}")


def distances(options: argparse.Namespace) -> dict[str, Any]:
    """Time ‖x − r‖² for all rows and m references, nothing kept; reading apart."""
    threads = options.threads or psutil.cpu_count(logical=False) or 1
    references: FloatArray | None = None
    reading = computing = 0.0
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for X in _chunks(options.folder):
            reading += time.perf_counter() - start
            start = time.perf_counter()
            if references is None:
                references = np.ascontiguousarray(X[: options.reference])
            tiles = [X[i : i + ROWS_A_TILE] for i in range(0, len(X), ROWS_A_TILE)]
            list(pool.map(lambda tile, R=references: squared_distances(tile, R)[0, 0], tiles))
            computing += time.perf_counter() - start
            start = time.perf_counter()
    return {"task": "distances", "rows": _rows(options.folder), "reference": options.reference,
            "threads": threads, "seconds": computing, "reading_seconds": reading}  # fmt: skip


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise SystemExit(f"'{folder}' holds no Parquet files; write some with 'generate'")
    return files


def _rows(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in _files(folder))


def _chunks(folder: Path) -> Iterator[FloatArray]:
    for file in _files(folder):
        groups = pq.ParquetFile(file)
        names = [name for name in groups.schema_arrow.names if name != "target"]
        for i in range(groups.num_row_groups):
            table = groups.read_row_group(i, columns=names)
            yield np.column_stack([column.to_numpy() for column in table.columns]).astype(float)


if __name__ == "__main__":
    sys.exit(main())
