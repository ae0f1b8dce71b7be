"""Whatever the bytes are: a corpus, or one sentence about what is wrong with them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from contexture.errors import CorpusError
from contexture.readers import Arrays, Csv, Jsonl, Parquet
from tests.readers.contract import table


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    frame = table().iloc[:12]
    frame.to_csv(folder / "x.csv", index=False)
    frame.to_json(folder / "x.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "x.parquet")
    np.save(folder / "x.npy", frame.to_numpy())
    np.savez_compressed(folder / "x.npz", X=frame.to_numpy())
    return folder


READ = {"csv": Csv, "jsonl": Jsonl, "parquet": Parquet, "npy": Arrays, "npz": Arrays}


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from(sorted(READ)),
    place=st.floats(0, 1),
    cut=st.booleans(),
    noise=st.binary(max_size=4),
)
def test_damaged_files(whole: Path, suffix: str, place: float, cut: bool, noise: bytes) -> None:
    data = (whole / f"x.{suffix}").read_bytes()
    at = int(place * len(data))
    path = whole / f"damaged.{suffix}"
    path.write_bytes(data[:at] + noise + (b"" if cut else data[at + len(noise) :]))
    with contextlib.suppress(CorpusError):
        corpus = READ[suffix](path=str(path)).open(200)
        assert len(corpus.frame().compute()) == corpus.rows


def test_damaged_zarr(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "z"), shape=(4, 2), chunks=(2, 2), dtype="f8")
    array[:] = 1
    reader = Arrays(path=str(tmp_path / "z"))
    (tmp_path / "z" / "c" / "1" / "0").write_bytes(b"not compressed")
    with pytest.raises(CorpusError, match="cannot read '.*z': "):
        reader.open()
    metadata = json.loads((tmp_path / "z" / "zarr.json").read_text())
    for change in ({"codecs": [{"name": "no.such"}]}, {"data_type": "no.such"}, {"shape": None}):
        (tmp_path / "z" / "zarr.json").write_text(json.dumps({**metadata, **change}))
        with pytest.raises(CorpusError, match="cannot read '.*z': "):
            reader.open()


def test_very_many_columns(tmp_path: Path) -> None:
    names = [f"a_column_{j}" for j in range(20_000)]
    (tmp_path / "x.csv").write_text(",".join(names) + "\n" + ",".join("1" * 20_000) + "\n")
    assert Csv(path=str(tmp_path / "x.csv"), include=("a_column_19999",)).open().rows == 1


def test_a_record_longer_than_a_partition(tmp_path: Path) -> None:
    long = "x" * 3000
    (tmp_path / "x.csv").write_text(f'a,b\n1,"{long}\n{long}"\n2,y\n3,z\n')
    corpus = Csv(path=str(tmp_path / "x.csv")).open(10)
    assert [p.rows for p in corpus.partitions] == [1, 2]
    assert len(corpus.partitions[0].load()["b"].iloc[0]) == 6001


def test_a_quote_that_is_never_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contexture.readers.byte_ranges.LONGEST", 1000)
    (tmp_path / "x.csv").write_text('a,b\n1,"x\n' + "2,y\n" * 2_000_000)
    with pytest.raises(CorpusError, match="the record at byte 4 is longer than 1000 bytes; is a"):
        Csv(path=str(tmp_path / "x.csv")).open(100)
