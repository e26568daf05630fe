"""What is no media file is refused with one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader
from keysync.media.reader import VideoReader

READERS = pytest.mark.parametrize("reader", [VideoReader, AudioReader])


def refusal(reader: type, path: Path) -> str:
    with pytest.raises(KeySyncError) as caught:
        reader(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@READERS
def test_missing_file(reader: type, tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(reader, tmp_path / "none.mp4")


@READERS
def test_folder(reader: type, tmp_path: Path) -> None:
    assert "is a folder: expected a video or sound file" in refusal(reader, tmp_path)


@READERS
def test_empty_file(reader: type, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "is empty (0 bytes): copy or export it again" in refusal(reader, path)


@READERS
@pytest.mark.parametrize("suffix", ["mp4", "wav", "mp3", "mkv", "txt", "nfo"])
def test_text_under_another_name(reader: type, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"text.{suffix}"
    path.write_text("This is a text about lips.\n" * 200)
    message = refusal(reader, path)
    assert any(part in message for part in ("not what its name says", "without a single sample", "is text"))


@READERS
def test_playlist_opens_nothing_else(reader: type, tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    refusal(reader, path)


@READERS
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe(reader: type, tmp_path: Path) -> None:
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    assert "is not a regular file" in refusal(reader, path)


def test_libav_writes_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
    refusal(VideoReader, path)
    assert capfd.readouterr() == ("", "")
