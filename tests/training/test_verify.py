"""The verification of prepared data: every part of every shard, damaged by a bit, is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from training.data.index import read_index
from training.data.store import Folder
from training.verify import main

from .older_data import make_older
from .small_data import spoil, write_small_data

PARTS = ("latents.npy", "landmarks.npy", "hubert.npy", "wavlm.npy", "mp4", "flac", "json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(
        tmp_path_factory.mktemp("verify") / "data", clips=3, frames=20, latent_size=(4, 4), shard_bytes=1
    )


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "data"))


def flip(file: Path, place: int) -> None:
    """Changes one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_intact(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["shard", "clips", "parts", "bytes", "no", "checksum", "damaged"]
    assert [line[0] for line in lines[1:]] == [
        *("train-000000.tar", "train-000001.tar", "validation-000000.tar", "all")
    ]
    held = [clip.members for clips in read_index(Folder(data)).splits.values() for clip in clips]
    assert set(held[0]) == set(PARTS)
    size = sum(size for members in held for _, size in members.values())
    assert lines[-1] == ["all", "3", str(3 * len(PARTS)), str(size), "0", "0"]


@pytest.mark.parametrize("part", PARTS)
def test_a_bit_of_any_part(part: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = read_index(Folder(copy)).splits["train"][1]
    offset, size = clip.members[part]
    flip(copy / clip.shard, offset + size // 2)
    assert main([str(copy)]) == 1
    said = capsys.readouterr()
    assert [line.split()[-1] for line in said.out.splitlines()] == ["damaged", "0", "1", "0", "1"]
    assert said.err.splitlines() == [
        f"verify: {clip.shard}: {clip.key}.{part} is damaged, its checksum differs",
        f"verify: error: {copy} is damaged: copy or prepare the data again",
    ]


def test_shards_that_are_cut_off_or_missing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = copy / "train-000000.tar"
    size = cut.stat().st_size
    cut.write_bytes(cut.read_bytes()[:-1])
    (copy / "train-000001.tar").unlink()
    assert main([str(copy)]) == 1
    assert capsys.readouterr().err.splitlines()[:-1] == [
        f"verify: train-000000.tar has {size - 1} bytes, expected {size}",
        "verify: cannot read train-000001.tar (No such file or directory)",
    ]


def test_data_without_checksums(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_older(copy)
    assert main([str(copy)]) == 0
    parts = 3 * len(PARTS)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].split()[-2:] == [str(parts), "0"]
    assert said.err == f"verify: {parts} parts have no checksum: prepare the data again to add them\n"


@pytest.mark.parametrize("checksums", [True, False])
def test_numbers_that_are_not_finite(checksums: bool, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = spoil(copy, 1)
    if not checksums:
        make_older(copy)
    assert main([str(copy)]) == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        f"verify: {clip.shard}: {clip.key}.latents.npy has numbers that are not finite, or is no array"
    )


def test_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"verify: error: {tmp_path} has no prepared data (index.json: ")
