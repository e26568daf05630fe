"""Files that libav opens and cannot play get a message of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader
from keysync.media.boxes import elements, segment
from keysync.media.readable import TRACK, TRACKS
from keysync.media.reader import VideoReader

from .recordings import picture, record

READERS = pytest.mark.parametrize("reader", [VideoReader, AudioReader])


@READERS
def test_animated_webp(reader: type, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    pictures = [Image.fromarray(picture(number)) for number in range(4)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    with pytest.raises(KeySyncError, match=r"a\.webp is an animated WebP, .*: convert it to mp4 or gif"):
        reader(path)


def test_webp_of_one_picture(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.webp")
    assert len(list(VideoReader(tmp_path / "a.webp").frames())) == 1


@READERS
@pytest.mark.parametrize("kind", ["video", "sound"])
def test_encrypted_mp4(reader: type, kind: str, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", sound=(0.0, 0.4))
    before, after = {"video": (b"avc1", b"encv"), "sound": (b"mp4a", b"enca")}[kind]
    content = path.read_bytes()
    entries = content.index(b"stsd", content.index(b"soun") if kind == "sound" else 0)
    path.write_bytes(content[:entries] + content[entries:].replace(before, after, 1))
    with pytest.raises(KeySyncError, match=r"a\.mp4 is encrypted \(DRM\): use a copy without protection"):
        reader(path)


@READERS
def test_encrypted_matroska(reader: type, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", sound=(0.0, 0.4))
    content = bytearray(path.read_bytes())
    with path.open("rb") as file:
        whole = segment(file)
        assert whole is not None
        tracks = next(part for part in elements(file, whole.start, whole.end) if part.kind == TRACKS)
        start = next(part.start for part in elements(file, tracks.start, tracks.end) if part.kind == TRACK)
    # In place of the track's first elements: its encodings, one of them, an encryption, and a void up to their end.
    encodings = bytes.fromhex("6d80 87 6240 84 5035 81 00".replace(" ", ""))
    first = content[start : start + 40]
    rest = bytes((0xEC, 0x80 | (len(first) - len(encodings) - 2))) + bytes(len(first) - len(encodings) - 2)
    content[start : start + 40] = encodings + rest
    path.write_bytes(content)
    with pytest.raises(KeySyncError, match=r"a\.mkv is encrypted \(DRM\)"):
        reader(path)


def test_what_is_not_encrypted(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mov", "a.mkv"):
        assert len(VideoReader(record(tmp_path / name, sound=(0.0, 0.4))).timestamps()) == 10
