"""Files are read once, and again when they have changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data import digest
from training.data.preparation.manifest import NAME, Manifest
from training.data.preparation.videos import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    return Source("a.mp4", path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    of_file = digest.of_file

    def watched(path: Path) -> str:
        seen.append(path)
        return of_file(path)

    monkeypatch.setattr(digest, "of_file", watched)
    return seen


def test_an_unchanged_file_is_not_read_again(source: Source, reads: list[Path], tmp_path: Path) -> None:
    first = Manifest(tmp_path).identify(source)
    assert Manifest(tmp_path).identify(source) == first
    assert reads == [source.path]


def test_a_changed_file_is(source: Source, reads: list[Path], tmp_path: Path) -> None:
    first = Manifest(tmp_path).identify(source)
    source.path.write_bytes(b"two")
    os.utime(source.path, ns=(1, 1))
    second = Manifest(tmp_path).identify(source)
    assert first.id != second.id
    assert Manifest(tmp_path).identify(source) == second
    assert len(reads) == 2


def test_a_line_cut_off_is_dropped(source: Source, reads: list[Path], tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    first = manifest.identify(source)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"path": "/b.mp4", "si')
    again = Manifest(tmp_path)
    other = tmp_path / "b.mp4"
    other.write_bytes(b"b")
    assert again.identify(source) == first
    again.identify(Source("b.mp4", other))
    rows = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert [row["name"] for row in rows] == ["a.mp4", "b.mp4"]
    assert len(reads) == 2


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Manifest(tmp_path).identify(Source("gone.mp4", tmp_path / "gone.mp4"))


def test_no_place_to_write(source: Source, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"cannot write .*manifest\.jsonl"):
        Manifest(tmp_path / "gone").identify(source)
