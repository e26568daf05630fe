"""Packing: what any WebDataset reader reads, the same bytes for the same clips, whole videos in one split."""

from __future__ import annotations

import gc
import io
import json
import logging
import random
import tarfile
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from keysync.errors import KeySyncError
from training.data.index import DataInfo, EncoderInfo, read_index
from training.data.preparation.shards import ClipFiles, write_shards
from training.data.store import Folder

from ...small_data import write_small_data

INFO = DataInfo((64, 64), (8, 8), 14, {"hubert": EncoderInfo(32, "somewhere")}, "vae", "none")


def clip(folder: Path, key: str, video: str = "", size: int = 3000) -> ClipFiles:
    parts = {"json": json.dumps({"key": key}).encode(), "latents.npy": random.Random(key).randbytes(size)}
    for part, content in parts.items():
        (folder / f"{key}.{part}").write_bytes(content)
    return ClipFiles(key, video or key, 20, {part: folder / f"{key}.{part}" for part in parts})


def clips(folder: Path, count: int, size: int = 3000) -> list[ClipFiles]:
    folder.mkdir(exist_ok=True)
    return [clip(folder, f"clip{number:03}", size=size) for number in range(count)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def keys(held: Iterable[ClipFiles]) -> list[str]:
    return [one.key for one in held]


def read(shards: list[str]) -> list[dict[str, Any]]:
    """The samples, as webdataset reads them; it leaves its files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        samples = list(webdataset.WebDataset(shards, shardshuffle=False))
        gc.collect()
    return samples


def test_webdataset_s_own_reader_reads_them(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data", clips=4, frames=20, shard_bytes=1)
    shards = sorted(str(path) for path in data.glob("train-*.tar"))
    assert len(shards) == 3
    samples = read(shards)
    index = read_index(Folder(data))
    assert [sample["__key__"] for sample in samples] == [held.key for held in index.splits["train"]]
    for sample, held in zip(samples, index.splits["train"], strict=True):
        assert {part for part in sample if part[0] != "_"} == set(held.members)
        assert json.loads(sample["json"])["frames"] == held.frames == 20
        assert np.load(io.BytesIO(sample["latents.npy"])).shape == (20, 2, 4, 8, 8)
        assert np.load(io.BytesIO(sample["landmarks.npy"])).shape == (20, 68, 2)
        assert sample["flac"][:4] == b"fLaC"
        assert sample["mp4"][4:8] == b"ftyp"


def test_the_index_says_where_every_part_is(tmp_path: Path) -> None:
    made = clips(tmp_path / "parts", 7)
    (tmp_path / "data").mkdir()
    assert write_shards(made, tmp_path / "data", INFO, shard_bytes=7000) == tmp_path / "data" / "index.json"
    index = read_index(Folder(tmp_path / "data"))
    assert index.info == INFO
    assert index.sizes == {path.name: path.stat().st_size for path in (tmp_path / "data").glob("*.tar")}
    sources = {one.key: one.parts for one in made}
    listed = [held for name in ("train", "validation") for held in index.splits[name]]
    assert sorted(held.key for held in listed) == sorted(sources)
    for held in listed:
        shard = (tmp_path / "data" / held.shard).read_bytes()
        found = {part: shard[offset : offset + size] for part, (offset, size) in held.members.items()}
        assert found == {part: path.read_bytes() for part, path in sources[held.key].items()}


def test_a_shard_ends_when_it_is_large_enough(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_shards(clips(tmp_path / "parts", 11), data, INFO, shard_bytes=7000)  # three clips of 3.0 kB
    index = read_index(Folder(data))
    names = [held.shard for held in index.splits["train"]]
    assert names == [f"train-{number // 3:06}.tar" for number in range(10)]


def test_the_same_bytes_in_whatever_order_the_clips_come(tmp_path: Path) -> None:
    made = clips(tmp_path / "parts", 9)
    for number in range(3):
        (tmp_path / f"data{number}").mkdir()
        random.Random(number).shuffle(made)
        write_shards(iter(made), tmp_path / f"data{number}", INFO, shard_bytes=7000)
        for path in (tmp_path / "parts").iterdir():
            path.touch()
    assert contents(tmp_path / "data0") == contents(tmp_path / "data1") == contents(tmp_path / "data2")
    with tarfile.open(tmp_path / "data0" / "train-000000.tar") as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_long_and_foreign_names(tmp_path: Path) -> None:
    made = [clip(tmp_path, f"{'a-very-long-name-' * 10}{letter}") for letter in ("x", "ö", "日本")]
    (tmp_path / "data").mkdir()
    write_shards(made, tmp_path / "data", INFO)
    listed = [one for held in read_index(Folder(tmp_path / "data")).splits.values() for one in held]
    assert sorted(one.key for one in listed) == sorted(keys(made))
    samples = read([str(tmp_path / "data" / "train-000000.tar")])
    assert {sample["__key__"] for sample in samples} <= set(keys(made))
    assert len(samples) == 2


def test_one_clip_alone_is_in_both_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data").mkdir()
    with caplog.at_level(logging.WARNING):
        write_shards(clips(tmp_path / "parts", 1), tmp_path / "data", INFO)
    assert "only one clip, clip000: it serves both training and validation" in caplog.text
    index = read_index(Folder(tmp_path / "data"))
    assert [[held.key for held in index.splits[name]] for name in ("train", "validation")] == [["clip000"]] * 2
    assert sorted(index.sizes) == ["train-000000.tar", "validation-000000.tar"]


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    made = clips(tmp_path, 2)
    with pytest.raises(KeySyncError, match="no clips to pack into shards: add other videos"):
        write_shards([], tmp_path, INFO)
    with pytest.raises(KeySyncError, match=r"two clips have the key clip000, of clip000 and other.mp4"):
        write_shards([*made, replace(made[0], video="other.mp4")], tmp_path, INFO)
    for key in ("", "a.b", "a/b"):
        with pytest.raises(ValueError, match="is not a valid key"):
            replace(made[0], key=key)
    made[1].parts["json"].unlink()
    with pytest.raises(KeySyncError, match=r"cannot read .*clip001.json \(No such file or directory\)"):
        write_shards(made, tmp_path, INFO)
    assert not list(tmp_path.glob("*.tar"))


def test_shards_of_an_earlier_preparation_go(tmp_path: Path) -> None:
    made = clips(tmp_path / "parts", 9)
    data = tmp_path / "data"
    data.mkdir()
    write_shards(made, data, INFO, shard_bytes=1)
    others = {"train-my-own.tar", "notes.txt"}
    for name in others:
        (data / name).touch()
    older = {path.name for path in data.glob("*-0*.*")}
    write_shards(made[:3], data, INFO, shard_bytes=1)
    found = {path.name for path in data.iterdir()} - others
    assert found.isdisjoint(older)
    assert sorted(name.rpartition(".")[2] for name in found) == [
        *("json", "json", "safetensors", "safetensors", "tar", "tar", "tar")
    ]
    assert {path.name for path in data.iterdir()} >= others


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    made = clips(tmp_path / "parts", 4, size=50_000)
    data = tmp_path / "data"
    data.mkdir()
    write_shards(made[:2], data, INFO)
    older = contents(data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, before[1]))
    try:
        with pytest.raises(KeySyncError, match=r"cannot write .*train-000001.tar \(File too large\)"):
            write_shards(made, data, INFO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert contents(data) == older


def test_the_old_index_and_its_shards_are_valid_until_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clips(tmp_path / "parts", 4)
    data = tmp_path / "data"
    data.mkdir()
    write_shards(made, data, INFO)
    older = contents(data)
    replace_file = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "index.json":
            raise KeyboardInterrupt
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_shards(made[1:], data, INFO)
    assert older.items() <= contents(data).items()
    assert not [path for path in data.iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    write_shards(made[1:], data, INFO)
    assert listed(data) == keys(made[1:])
    assert older.keys() & contents(data).keys() == {"index.json", "people.json"}


def listed(data: Path) -> list[str]:
    """The keys in the index."""
    return sorted(one.key for held in read_index(Folder(data)).splits.values() for one in held)


def status(data: Path) -> dict[str, int]:
    """When each file was written."""
    return {path.name: path.stat().st_mtime_ns for path in data.iterdir()}


def test_new_videos_rewrite_no_shard(tmp_path: Path) -> None:
    made = clips(tmp_path / "parts", 9)
    data = tmp_path / "data"
    data.mkdir()
    write_shards(made[:6], data, INFO, shard_bytes=7000)
    before = status(data)
    write_shards(made, data, INFO, shard_bytes=7000, unchanged=set(keys(made[:6])))
    after = status(data)
    kept = before.keys() - {"index.json", "people.json"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert listed(data) == keys(made)
    for held in read_index(Folder(data)).splits.values():
        for one in held:
            offset, size = one.members["json"]
            assert json.loads((data / one.shard).read_bytes()[offset : offset + size]) == {"key": one.key}


def test_only_shards_of_what_changed_or_went_are_written_anew(tmp_path: Path) -> None:
    made = clips(tmp_path / "parts", 12)
    data = tmp_path / "data"
    data.mkdir()
    write_shards(made, data, INFO, shard_bytes=7000, validation_share=0.01)
    first = read_index(Folder(data)).splits["train"]
    of_shard = {one.key: one.shard for one in first}
    gone, changed = first[0].key, first[5].key
    left = [one for one in made if one.key != gone]
    unchanged = {one.key for one in left} - {changed}
    before = status(data)
    write_shards(left, data, INFO, shard_bytes=7000, validation_share=0.01, unchanged=unchanged)
    assert listed(data) == keys(left)
    rewritten = {of_shard[gone], of_shard[changed]}
    after = status(data)
    assert len(rewritten) == 2
    assert not rewritten & after.keys()
    assert all(after[shard] == before[shard] for shard in set(of_shard.values()) - rewritten)
    assert {one.key: one.frames for one in read_index(Folder(data)).splits["train"]} == {
        key: 20 for key in of_shard if key != gone
    }


def test_many_additions_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.preparation.shards.MOST_TABLES", 3)
    made = clips(tmp_path / "parts", 8)
    data = tmp_path / "data"
    data.mkdir()
    for count in range(2, 9):
        write_shards(
            made[:count], data, INFO, validation_share=0.01, unchanged=keys(made[: count - 1]) if count > 2 else ()
        )
        assert listed(data) == keys(made[:count])
        assert len(list(data.glob("train-*.safetensors"))) <= 3
