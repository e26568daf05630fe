"""The table of clips: what is written is read again, memory-mapped, and damage is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from training.data.index import content_of
from training.data.table import Clip, Clips, Table

SIZES = {"train-000000.tar": 5000, "train-000001.tar": 700, "train-000002.tar": 60}
CLIPS = [
    Clip("train-000000.tar", "日本", 20, {"mp4": (512, 1000), "json": (2048, 2952)}, {"mp4": 0, "json": 2**32 - 1}),
    Clip("train-000000.tar", "b", 30, {}),
    Clip("train-000001.tar", "cc", 500, {"json": (0, 700)}, {"json": 5}),
    Clip("train-000002.tar", "a long key", 170, {"flac": (1, 0)}),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Table.of(CLIPS, SIZES).save(tmp_path / "table.safetensors")
    return tmp_path / "table.safetensors"


def test_what_is_written_is_read_again(path: Path) -> None:
    table = Table.open(path)
    assert [table[row] for row in range(len(table))] == CLIPS
    assert table.shards == SIZES
    assert table.unchecked == 2
    assert content_of(table) == content_of(Table.of(CLIPS, SIZES))
    assert list(table.names()) == [(clip.shard, clip.key) for clip in CLIPS]


def test_a_column_is_a_view_of_the_file_for_every_process(path: Path) -> None:
    table = Table.open(path)
    for column in table.columns.values():
        base = column
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
    sent = pickle.dumps(table)
    assert len(sent) < 300
    assert pickle.loads(sent)[2] == CLIPS[2]
    assert pickle.loads(pickle.dumps(Table.of(CLIPS, SIZES)))[2] == CLIPS[2]


def test_without_some_shards() -> None:
    table = Table.of(CLIPS, SIZES).without({"train-000000.tar"})
    assert [table[row] for row in range(len(table))] == CLIPS[2:]
    assert list(table.shards) == ["train-000001.tar", "train-000002.tar"]
    assert table.unchecked == 1


def test_tables_joined() -> None:
    first = [Clip("other.tar", "x", 3, {"flac": (0, 5), "npy": (5, 6)}, {"flac": 1, "npy": 2})]
    joined = Table.joined([Table.of(first, {"other.tar": 11}), Table.of(CLIPS, SIZES)])
    assert [joined[row] for row in range(len(joined))] == [*first, *CLIPS]
    assert joined.unchecked == 2


def test_clips_of_several_tables() -> None:
    clips = Clips([Table.of(CLIPS[:1], SIZES), Table.of(CLIPS[1:], SIZES)])
    assert list(clips) == CLIPS
    assert clips[-1] == CLIPS[3]
    assert clips[1:3] == CLIPS[1:3]
    assert clips.frames.tolist() == [20, 30, 500, 170]
    assert len(Clips([]).frames) == len(Clips([])) == 0
    with pytest.raises(IndexError):
        clips[4]


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("offsets", (0, 0), 4001, "clip '日本' is outside its shard train-000000.tar"),
        ("sizes", (0, 1), -5, "clip '日本' is outside its shard"),
        ("shard", 0, 3, "numbers that make no sense"),
        ("shard", 0, -1, "numbers that make no sense"),
        ("frames", 0, 0, "numbers that make no sense"),
        ("key_ends", 0, 999, "numbers that make no sense"),
        ("keys", 0, 255, "codec can't decode"),
    ],
)
def test_rows_that_make_no_sense(
    column: str, row: int | tuple[int, int], value: int, message: str, tmp_path: Path
) -> None:
    table = Table.of(CLIPS, SIZES)
    held = np.array(table.columns[column])
    held[row] = value
    Table(table.shards, table.parts, {**table.columns, column: held}).save(tmp_path / "table.safetensors")
    opened = Table.open(tmp_path / "table.safetensors")
    said = rf"row 0 of .*table.safetensors is damaged \(.*{message}.*\): prepare"
    with pytest.raises(KeySyncError, match=said):
        opened[0]
    if column in ("shard", "key_ends", "keys"):
        with pytest.raises(KeySyncError, match=said):
            list(opened.names())


@pytest.mark.parametrize("size", [0, 3, 8, 100, 600])
def test_files_that_end_too_soon(size: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(KeySyncError, match=r"table.safetensors is not a table of clips \(.+\): prepare the data again"):
        Table.open(path)


def test_other_files(path: Path) -> None:
    whole = path.read_bytes()
    for damaged in (
        b"\xff" * 100,
        whole.replace(b'"I32"', b'"F32"'),
        whole.replace(b"keysync.parts", b"keysync.party"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(KeySyncError, match="is not a table of clips"):
            Table.open(path)
