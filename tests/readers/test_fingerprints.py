"""Fingerprints are the same in every process: one other interpreter reads what this one read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from contexture.readers import AnyReader, Arrays, Csv, Jsonl, Packaged, Parquet, Reader
from tests.readers.contract import table

CODE = """
import sys
from pydantic import TypeAdapter
from contexture.readers import AnyReader
for reader in TypeAdapter(list[AnyReader]).validate_json(sys.stdin.read()):
    print(reader.open(700).fingerprint)
"""


def test_another_process(tmp_path: Path) -> None:
    frame = table().assign(s=["u", "v", None] * 20)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    np.save(tmp_path / "t.npy", table().to_numpy())
    readers: list[Reader] = [
        Csv(path=str(tmp_path / "t.csv")),
        Parquet(path=str(tmp_path / "t.parquet")),
        Jsonl(path=str(tmp_path / "t.jsonl")),
        Arrays(path=str(tmp_path / "t.npy")),
        Packaged(name="iris"),
    ]
    sent = TypeAdapter(list[AnyReader]).dump_json(readers)  # type: ignore[arg-type]
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        input=sent.decode(),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert run.stdout.split() == [reader.open(700).fingerprint for reader in readers]
