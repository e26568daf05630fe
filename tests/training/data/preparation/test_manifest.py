"""Files are read once, and again when they have changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data import digest
from training.data.preparation.manifest import NAME, Manifest
from training.data.preparation.videos import Source, Video


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


def identify(manifest: Manifest, source: Source) -> Video:
    """The video in a file, which is read where it is not known."""
    return manifest.known(source) or manifest.add(source, digest.of_file(source.path))


def test_an_unchanged_file_is_not_read_again(source: Source, reads: list[Path], tmp_path: Path) -> None:
    first = identify(Manifest(tmp_path), source)
    assert identify(Manifest(tmp_path), source) == first
    assert reads == [source.path]


def test_a_changed_file_is(source: Source, reads: list[Path], tmp_path: Path) -> None:
    first = identify(Manifest(tmp_path), source)
    source.path.write_bytes(b"two")
    os.utime(source.path, ns=(1, 1))
    second = identify(Manifest(tmp_path), source)
    assert first.id != second.id
    assert identify(Manifest(tmp_path), source) == second
    assert len(reads) == 2


def test_a_line_cut_off_is_dropped(source: Source, reads: list[Path], tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    first = identify(manifest, source)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"path": "/b.mp4", "si')
    again = Manifest(tmp_path)
    other = tmp_path / "b.mp4"
    other.write_bytes(b"b")
    assert identify(again, source) == first
    identify(again, Source("b.mp4", other))
    rows = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert [row["name"] for row in rows] == ["a.mp4", "b.mp4"]
    assert len(reads) == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b'{"path": "/b.mp4", "si',
        b"[" * 100_000,
        b"[1]",
        b'{"path": "/b.mp4"}',
        b'{"path": ["/b.mp4"], "size": 1, "modified": 1, "digest": "", "id": "", "name": ""}',
        b'{"size": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda damage: repr(damage[:20]),
)
def test_damaged_lines_are_left_out_and_counted(
    damage: bytes, source: Source, reads: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = identify(Manifest(tmp_path), source)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(damage + b"\n" + whole)
    assert identify(Manifest(tmp_path), source) == first
    assert len(reads) == 1
    assert "manifest.jsonl: 1 of 2 lines are damaged: their videos are read again" in caplog.text
    assert (tmp_path / NAME).read_bytes() == whole


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identify(Manifest(tmp_path), Source("gone.mp4", tmp_path / "gone.mp4"))


def test_no_place_to_write(source: Source, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"cannot write .*manifest\.jsonl"):
        identify(Manifest(tmp_path / "gone"), source)
