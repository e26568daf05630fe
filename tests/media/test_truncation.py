"""Cut files are told by what their outermost boxes say."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.media.reader import VideoReader
from keysync.media.truncation import check_complete


def write_clip(path: Path, codec: str = "mpeg4", **options: str) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", container_options=options) as container:
        stream = container.add_stream(codec, rate=25, width=64, height=48, pix_fmt="yuv420p")
        assert isinstance(stream, av.VideoStream)
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def check(path: Path) -> None:
    with path.open("rb") as file:
        check_complete(file, str(path))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {}), ("a.mp4", {"movflags": "+faststart"}), ("a.mov", {}), ("a.mkv", {}), ("a.avi", {})],
)
def test_cut_file(name: str, options: dict[str, str], share: float, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, **options)
    check(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(KeySyncError, match=r"a\.\w+ is cut off: it has \d+ of \d+ bytes; copy or export it again"):
        VideoReader(path)


def test_index_cut_away_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(KeySyncError, match="it is damaged, cut off or not what its name says"):
        VideoReader(path)


def test_large_box_and_rest_of_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    start = (16).to_bytes(4, "big") + b"ftypisom" + bytes(4)
    path.write_bytes(start + (1).to_bytes(4, "big") + b"mdat" + (2**33).to_bytes(8, "big") + bytes(99))
    with pytest.raises(KeySyncError, match=f"it has 131 of {2**33 + 16} bytes"):
        check(path)
    path.write_bytes(start + bytes(4) + b"mdat" + bytes(99))
    check(path)


def test_recording_that_does_not_say_its_length(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "live.mkv", live="1")
    check(path)
    path.write_bytes(path.read_bytes()[:-1000])
    check(path)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"text", bytes(100), b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x84abcd"]
)
def test_anything_else_is_left_to_libav(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    check(path)
