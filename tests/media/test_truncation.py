"""Cut files are told by what their outermost boxes say."""

from __future__ import annotations

import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.media.audio import hear
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


SOUNDS = {
    "a.wav": "pcm_s16le",
    "b.wav": "pcm_f32le",
    "c.wav": "adpcm_ms",
    "a.w64": "pcm_s16le",
    "a.aiff": "pcm_s16be",
    "a.aifc": "pcm_f32be",
    "a.caf": "pcm_s16be",
    "a.au": "pcm_s16be",
    "a.flac": "flac",
    "a.tta": "tta",
    "a.mp3": "libmp3lame",
}


def write_tone(path: Path, codec: str, seconds: float = 3.0, **options: str) -> Path:
    noise = np.random.default_rng(0).standard_normal((1, round(44100 * seconds))).astype(np.float32) / 10
    kind = "aiff" if path.suffix == ".aifc" else None
    with av.open(str(path), "w", kind, container_options=options) as container:
        stream = container.add_stream(codec, rate=44100, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


@pytest.mark.parametrize("share", [0.31, 0.7, 0.95])
@pytest.mark.parametrize(("name", "codec"), SOUNDS.items())
def test_cut_sound(name: str, codec: str, share: float, tmp_path: Path) -> None:
    path = write_tone(tmp_path / name, codec)
    assert hear(path).notes == ()
    with pytest.raises(KeySyncError, match=r" is cut off: it has .* s; copy or export it again") as error:
        hear(cut(path, share))
    found, expected = map(float, re.findall(r"\d+\.\d\d", str(error.value))[-2:])
    assert expected == pytest.approx(3.0, abs=0.1)
    assert found == pytest.approx(3.0 * share, abs=0.2)


@pytest.mark.parametrize("share", [0.31, 0.7, 0.95, 0.999])
@pytest.mark.parametrize(("name", "codec"), [("a.ogg", "flac"), ("a.opus", "libopus")])
def test_cut_ogg(name: str, codec: str, share: float, tmp_path: Path) -> None:
    path = write_tone(tmp_path / name, codec)
    assert hear(path).notes == ()
    with pytest.raises(KeySyncError, match=r" is cut off: it has \d+ of \d+ bytes; copy or export it again"):
        hear(cut(path, share))


def test_cut_in_the_header_of_an_ogg_page(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.opus", "libopus")
    last = path.read_bytes().rindex(b"OggS")
    for length in (4, 20, 27, 30):
        content = path.read_bytes()
        cut_file = tmp_path / "cut.opus"
        cut_file.write_bytes(content[: last + length])
        with pytest.raises(KeySyncError, match="is cut off: it has"):
            hear(cut_file)


def test_cut_rf64(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", "pcm_s16le", rf64="always")
    assert path.read_bytes()[:4] == b"RF64"
    assert hear(path).seconds == 3
    with pytest.raises(KeySyncError, match=r"is cut off: it has 1\.\d\d of 3\.00 s; copy"):
        hear(cut(path, 0.5))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
def test_sizes_of_streamed_wav_are_unknown(size: int, tmp_path: Path) -> None:
    """A program that writes into a pipe cannot know the size; ffmpeg, sox and others put these."""
    path = write_tone(tmp_path / "a.wav", "pcm_s16le")
    content = bytearray(path.read_bytes())
    for place in (4, content.index(b"data") + 4):
        content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert hear(path).seconds == 3


@pytest.mark.parametrize("name", ["a.wav", "a.caf", "a.aiff", "a.w64", "a.mp3", "a.ogg", "a.flac"])
def test_junk_behind_the_sound_is_no_cut(name: str, tmp_path: Path) -> None:
    path = write_tone(tmp_path / name, SOUNDS.get(name, "flac"))
    path.write_bytes(path.read_bytes() + bytes(1000))
    check(path)


def test_damaged_heads_are_no_traceback(tmp_path: Path) -> None:
    """Whatever the bytes, the check ends; what libav makes of them is another question."""
    rng = np.random.default_rng(0)
    for name, codec in (*SOUNDS.items(), ("a.ogg", "flac")):
        content = write_tone(tmp_path / name, codec, seconds=0.1).read_bytes()
        for _ in range(300):
            changed = bytearray(content[: rng.integers(1, len(content))])
            for place in rng.integers(0, min(200, len(changed)), 3):
                changed[place] = rng.integers(0, 256)
            with suppress(KeySyncError):
                check_complete(BytesIO(changed), name)


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
