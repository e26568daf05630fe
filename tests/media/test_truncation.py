"""Cut files are told by what their outermost boxes and their indexes say."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.media.audio import hear
from keysync.media.readable import check_readable
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
    rate = 48000 if codec == "libopus" else 44100
    noise = np.random.default_rng(0).standard_normal((1, round(rate * seconds))).astype(np.float32) / 10
    kind = "aiff" if path.suffix == ".aifc" else None
    with av.open(str(path), "w", kind, container_options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
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
    assert found == pytest.approx(3.0 * share, abs=1.1 if codec == "tta" else 0.2)  # a frame of TTA lasts a second


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
            if name == "a.w64" and rng.random() < 0.3:
                changed[56:64] = b"\xff" * 8
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


# Indexes that list more than there is


def patched(path: Path, box: bytes, at: int, number: int) -> Path:
    """The first box of a kind with another number at a place of its content."""
    content = bytearray(path.read_bytes())
    start = content.index(box) + 4 + at
    content[start : start + 4] = number.to_bytes(4, "big")
    path.write_bytes(content)
    return path


CUT_OFF = r"a\.\w+ is cut off: its index lists (\d+) (frames|places|parts), the file has (\d+); copy or export it again"


def refusal(path: Path) -> tuple[int, int]:
    """How many the index lists, and how many are there, as the message has it."""
    with pytest.raises(KeySyncError, match=CUT_OFF) as caught:
        VideoReader(path)
    found = re.search(CUT_OFF, str(caught.value))
    assert found is not None
    return int(found[1]), int(found[3])


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_times_for_more_frames_than_are_stored(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name)
    check(path)
    assert refusal(patched(path, b"stts", 8, 40)) == (40, 30)


@pytest.mark.parametrize("movflags", ["+disable_chpl", "+faststart"])
def test_sizes_of_more_frames_than_are_stored(movflags: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", movflags=movflags)
    assert refusal(patched(path, b"stsz", 8, 50)) == (50, 30)


def test_index_that_points_beyond_the_end(tmp_path: Path) -> None:
    """The content's box reaches to the end of the file, wherever that is: only the index tells."""
    path = write_clip(tmp_path / "a.mp4", movflags="+faststart")
    content = bytearray(path.read_bytes())
    place = content.index(b"mdat")
    content[place - 4 : place] = bytes(4)
    path.write_bytes(content[: (place + len(content)) // 2])
    listed, there = refusal(path)
    assert listed == 30
    assert 0 < there < 20


def test_frames_of_one_size_beyond_the_end(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mov", "rawvideo", movflags="+faststart")
    content = bytearray(path.read_bytes())
    place = content.index(b"mdat")
    content[place - 4 : place] = bytes(4)
    path.write_bytes(content[: place + 4 + 12 * 4608 + 100])
    assert refusal(path) == (30, 12)


def segmented(path: Path) -> Path:
    return write_clip(path, movflags="+frag_keyframe+empty_moov+default_base_moof+global_sidx", frag_duration="200000")


def test_list_of_segments_that_are_missing(tmp_path: Path) -> None:
    path = segmented(tmp_path / "a.mp4")
    content = path.read_bytes()
    assert b"sidx" in content
    check(path)
    path.write_bytes(content[: content.rindex(b"moof") - 4])
    with pytest.raises(KeySyncError, match=r"a\.mp4 is cut off: it has \d+ of \d+ bytes"):
        VideoReader(path)


def whole_riff(content: bytes) -> bytes:
    """An avi whose outermost sizes fit its length, as after a repair."""
    movi = content.index(b"movi")
    changed = content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:]
    return changed[: movi - 4] + (len(content) - movi).to_bytes(4, "little") + changed[movi:]


def test_avi_header_that_promises_more(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi")
    check(path)
    content = path.read_bytes()
    path.write_bytes(whole_riff(content[: content.index(b"idx1") * 2 // 3]))
    listed, there = refusal(path)
    assert listed == 30
    assert 10 < there < 25


def test_avi_index_that_lists_more(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi")
    content = path.read_bytes()
    index = content.index(b"idx1")
    size = int.from_bytes(content[index + 4 : index + 8], "little")
    entry = content[index + 8 : index + 24]
    longer = content[:index] + b"idx1" + (size + 32).to_bytes(4, "little") + content[index + 8 :] + 2 * entry
    path.write_bytes(longer[:4] + (len(longer) - 8).to_bytes(4, "little") + longer[8:])
    assert refusal(path) == (32, 30)


def without_a_length(content: bytes) -> bytes:
    """A Matroska file whose segment says that its size is unknown."""
    place = content.index(bytes.fromhex("18538067")) + 4
    return content[:place] + b"\x01" + b"\xff" * 7 + content[place + 8 :]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_matroska_whose_cues_are_missing(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, "libvpx" if name == "a.webm" else "mpeg4", cluster_time_limit="100")
    content = without_a_length(path.read_bytes())
    path.write_bytes(content)
    check(path)
    path.write_bytes(content[: len(content) // 2])
    listed, there = refusal(path)
    assert there < listed  # cues and tags come last


def test_cues_in_front_that_point_beyond_the_end(tmp_path: Path) -> None:
    options = {"cluster_time_limit": "100", "cues_to_front": "1", "reserve_index_space": "2000"}
    path = write_clip(tmp_path / "a.mkv", **options)
    content = without_a_length(path.read_bytes())
    path.write_bytes(content)
    check(path)
    tags = content.rindex(bytes.fromhex("1254c367"))
    cut = content[: tags // 2]
    # What the seek head says of the tags behind is made to point at the cues, as writers without tags leave it.
    path.write_bytes(cut.replace(bytes.fromhex("1254c367"), bytes.fromhex("1c53bb6b"), 1))
    with pytest.raises(KeySyncError, match="is cut off: its index lists"):
        VideoReader(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_indexes_end_in_one_line(seed: int, tmp_path: Path) -> None:
    """Every size and count in a file is a claim: none may hang, take memory or raise anything else."""
    draw = random.Random(seed)
    clips = [write_clip(tmp_path / name).read_bytes() for name in ("a.mp4", "a.mov", "a.mkv", "a.avi")]
    clips.append(segmented(tmp_path / "s.mp4").read_bytes())
    refused = 0
    for _ in range(600):
        content = bytearray(draw.choice(clips))
        for _ in range(draw.randint(1, 20)):
            place = draw.choice((draw.randrange(1500), len(content) - 1 - draw.randrange(1500), len(content) // 2))
            content[place % len(content)] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        if draw.random() < 0.2:
            del content[draw.randrange(1, len(content)) :]
        for look in (check_readable, check_complete):
            try:
                look(BytesIO(content), "a")
            except KeySyncError:
                refused += 1
    assert refused > 100
