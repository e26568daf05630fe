"""What recordings of real people have: pauses, late starts, fields, Exif, damage, clocks that begin anew."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader
from keysync.media.info import HLG, PQ, Orientation
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory, is_grey
from keysync.media.writer import VideoWriter

from .recordings import EVERY_40, exif, grey_picture, picture, record, write_gif


def seconds_of_last(path: Path, **window: float) -> float:
    reader = VideoReader(path, **window)
    return float(reader.facts().last_duration * reader.info.time_base)


# Side data that PyAV does not know


ORIENTATIONS = {
    1: Orientation(),
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}


@pytest.mark.parametrize("number", ORIENTATIONS)
def test_exif_in_the_pictures_is_read_past_and_its_orientation_followed(number: int, tmp_path: Path) -> None:
    plain = record(tmp_path / "plain.mov", codec="mjpeg", pixels="yuvj420p")
    path = record(tmp_path / "a.mov", codec="mjpeg", pixels="yuvj420p", change=exif(number))
    (_, stored), *_ = VideoReader(plain).frames()
    frames = [frame for _, frame in VideoReader(path).frames()]
    assert len(frames) == 10
    assert np.array_equal(frames[0], ORIENTATIONS[number].apply(stored))


# How long the last picture is shown


@pytest.mark.parametrize("frames", ["0", "3"], ids=["in order", "B-frames"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_the_last_picture_lasts_as_the_file_says(suffix: str, frames: str, tmp_path: Path) -> None:
    options = {"x264-params": f"bframes={frames}:b-adapt=0"}
    path = record(tmp_path / f"a.{suffix}", last=1640, options=options)
    assert seconds_of_last(path) == pytest.approx(1.64, abs=0.001)
    assert VideoReader(path).seconds() == pytest.approx(2.0, abs=0.001)
    even = record(tmp_path / f"b.{suffix}", options=options)
    assert seconds_of_last(even) == pytest.approx(0.04, abs=0.001)


def test_the_last_picture_of_webm_avi_and_transport_streams(tmp_path: Path) -> None:
    webm = record(tmp_path / "a.webm", last=1640, codec="libvpx")
    assert seconds_of_last(webm) == pytest.approx(1.64, abs=0.001)
    for name in ("a.avi", "a.ts"):
        assert seconds_of_last(record(tmp_path / name, codec="mpeg4")) == pytest.approx(0.04, abs=0.001)


def test_the_last_picture_of_a_gif(tmp_path: Path) -> None:
    reader = VideoReader(write_gif(tmp_path / "a.gif", [100, 100, 100, 2000]))
    assert float(reader.facts().last_duration * reader.info.time_base) == pytest.approx(2.0)
    assert reader.seconds() == pytest.approx(2.3)


@pytest.mark.parametrize(("start", "duration", "last"), [(0, 0.3, 0.02), (0, 1.0, 0.64), (0.2, None, 1.64)])
def test_a_window_ends_the_last_picture(start: float, duration: float | None, last: float, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", last=1640)
    reader = VideoReader(path, start, duration)
    assert float(reader.facts().last_duration * reader.info.time_base) == pytest.approx(last)


def test_a_length_that_no_header_can_mean_is_told_and_not_followed(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", last=20 * 3600 * 1000)
    facts = VideoReader(path).facts()
    assert facts.promised == pytest.approx(20 * 3600 + 0.36)
    assert seconds_of_last(path) < 3600


def test_a_recording_without_a_length(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", container={"live": "1"})
    reader = VideoReader(path)
    assert reader.info.duration_seconds == 0
    assert reader.seconds() == pytest.approx(0.4, abs=0.001)


# Clocks


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_a_late_start_is_no_part_of_the_length(name: str, tmp_path: Path) -> None:
    reader = VideoReader(record(tmp_path / name, [50_000_000 + pts for pts in EVERY_40]))
    assert reader.info.duration_seconds == pytest.approx(0.4, abs=0.001)
    assert reader.seconds() == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("later", [0, 40_000_000], ids=["back", "far ahead"])
def test_joined_recordings_go_on_without_a_gap(later: int, tmp_path: Path) -> None:
    """Transport streams are joined by copying one behind the other; each has its own clock."""
    parts = [record(tmp_path / f"{n}.ts", [start + pts for pts in EVERY_40]) for n, start in enumerate((5000, later))]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    reader = VideoReader(joined)
    pts, frames = zip(*reader.frames(), strict=True)
    steps = {round(float((after - before) * reader.info.time_base), 3) for before, after in pairwise(pts)}
    assert len(frames) == 20
    assert steps == {0.04}
    assert reader.facts().new_clocks == 1
    for index, frame in zip([19, 5, 12, 11], reader.pick(pts, [19, 5, 12, 11]), strict=True):
        assert np.array_equal(frame, frames[index])


@pytest.mark.parametrize(("start", "lead"), [(0.5, 0.5), (-0.3, -0.3)])
@pytest.mark.parametrize("offset", [1000, 20_000_000])
def test_sound_counts_from_the_picture_of_its_file(start: float, lead: float, offset: int, tmp_path: Path) -> None:
    begin = offset / 1000 + start
    path = record(tmp_path / "a.ts", [offset + pts for pts in EVERY_40], sound=(begin, 1.0))
    assert AudioReader(path).lead == pytest.approx(lead, abs=0.07)  # a frame of AAC is 64 ms


def test_sound_counts_from_the_first_picture_that_can_be_decoded(tmp_path: Path) -> None:
    """A broadcast that is recorded from the middle of a group of pictures on."""
    options = {"x264-params": "keyint=5:min-keyint=5:scenecut=0:bframes=0"}
    path = record(tmp_path / "a.ts", options=options, sound=(0.0, 1.0))
    content = path.read_bytes()
    with av.open(str(path)) as container:
        second = [packet.pos for packet in container.demux(video=0)][1]
    cut = tmp_path / "cut.ts"
    cut.write_bytes(content[: 3 * 188] + content[second or 0 :])
    assert len(VideoReader(cut).timestamps()) == 5
    assert AudioReader(cut).lead == pytest.approx(-0.2, abs=0.07)


# Fields


@pytest.mark.parametrize(("fields", "order"), [("tff", "tt"), ("bff", "bb")])
@pytest.mark.parametrize(("suffix", "lossless"), [("mp4", False), ("mov", False), ("mkv", False), ("mkv", True)])
def test_interlaced_pictures_keep_their_fields(
    fields: str, order: str, suffix: str, lossless: bool, tmp_path: Path
) -> None:
    x264 = {"x264-params": f"{fields}=1"}
    reader = VideoReader(record(tmp_path / "a.mp4", fields=fields, options=x264))
    assert reader.info.field_order == order
    with VideoWriter(tmp_path / f"out.{suffix}", reader.info, lossless=lossless) as writer:
        for pts, frame in reader.frames():
            writer.write(frame, pts)
    result = VideoReader(tmp_path / f"out.{suffix}")
    assert result.info.field_order == order
    with av.open(str(result.path)) as container:
        number = {"tt": 2, "bb": 3}[order]
        assert getattr(container.streams.video[0].codec_context, "field_order", number) == number  # not in PyAV 16
    shift = [
        after.astype(int) - before for (_, before), (_, after) in zip(reader.frames(), result.frames(), strict=True)
    ]
    assert np.abs(np.mean(shift, (0, 1, 2))).max() < 0.8


def test_progressive_pictures_have_no_fields(tmp_path: Path) -> None:
    assert VideoReader(record(tmp_path / "a.mp4")).info.field_order == ""


# Colours


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "sampling", "full"),
    [
        ("a.mp4", "libx264", "yuv420p", "4:2:0", False),
        ("a.mp4", "libx264", "yuv422p", "4:2:2", False),
        ("a.mp4", "libx264", "yuv444p", "4:4:4", True),
        ("a.mkv", "ffv1", "yuv444p10le", "4:4:4", True),
        ("a.mov", "png", "rgb24", "RGB", True),
        ("a.mkv", "ffv1", "bgr0", "RGB", True),
        ("a.mkv", "ffv1", "gray", "grey", False),
        ("a.mov", "qtrle", "argb", "RGB", True),
    ],
)
def test_colour_is_kept_at_its_resolution(
    name: str, codec: str, pixels: str, sampling: str, full: bool, tmp_path: Path
) -> None:
    reader = VideoReader(record(tmp_path / name, codec=codec, pixels=pixels))
    assert (reader.info.sampling, reader.info.full_chroma) == (sampling, full)
    with VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
        for pts, frame in reader.frames():
            writer.write(frame, pts)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == ("yuv444p" if full else "yuv420p")


@pytest.mark.parametrize(
    ("pixels", "codec", "suffix", "alpha"),
    [
        ("yuva444p10le", "prores_ks", "mov", True),
        ("argb", "qtrle", "mov", True),
        ("rgba", "png", "mov", True),
        ("yuva420p", "ffv1", "mkv", True),
        ("yuva420p", "libvpx-vp9", "webm", True),
        ("yuv422p10le", "prores_ks", "mov", False),
    ],
)
def test_transparency_is_known(pixels: str, codec: str, suffix: str, alpha: bool, tmp_path: Path) -> None:
    assert VideoReader(record(tmp_path / f"a.{suffix}", codec=codec, pixels=pixels)).info.alpha is alpha


def test_a_gif_has_transparency_only_where_a_pixel_has(tmp_path: Path) -> None:
    assert not VideoReader(write_gif(tmp_path / "a.gif", [100] * 3)).info.alpha


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG"), (14, "")])
def test_hdr_is_told_by_its_transfer_alone(transfer: int, name: str, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", codec="libx265", pixels="yuv420p10le", colours=(9, 9, transfer))
    info = VideoReader(path).info
    assert (info.bits, info.colours.hdr, info.hdr) == (10, name, bool(name))


GREY = {
    "grey pixels": ("ffv1", "mkv", "gray", grey_picture),
    "ten bits of grey": ("ffv1", "mkv", "gray10le", grey_picture),
    "chroma that never changes": ("libx264", "mp4", "yuv420p", grey_picture),
    "grey RGB": ("png", "mov", "rgb24", grey_picture),
    "ten bits": ("ffv1", "mkv", "yuv420p10le", grey_picture),
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_is_known(kind: str, tmp_path: Path) -> None:
    codec, suffix, pixels, draw = GREY[kind]
    path = tmp_path / f"a.{suffix}"
    assert VideoReader(record(path, codec=codec, pixels=pixels, draw=draw)).facts().grey
    if not pixels.startswith("gray"):
        late = record(path, codec=codec, pixels=pixels, draw=lambda n: picture(n) if n == 9 else grey_picture(n))
        assert not VideoReader(late).facts().grey


def test_grey_in_memory() -> None:
    pictures = np.stack([grey_picture(number) for number in range(3)])
    assert FramesInMemory("the images", pictures, Fraction(25)).facts().grey
    pictures[2, 5, 5, 0] ^= 64
    assert not FramesInMemory("the images", pictures, Fraction(25)).facts().grey
    assert not is_grey(pictures[2])


# Damage


def broken(path: Path, count: int = 3) -> Path:
    """The file with bytes changed in the middle."""
    content = bytearray(path.read_bytes())
    for place in np.linspace(0.45, 0.55, count):
        content[int(place * len(content))] ^= 0x55
    path.write_bytes(content)
    return path


def noise(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {"x264-params": "keyint=1"}),
        ("a.avi", "mpeg4", "yuv420p", {}),
        ("a.mkv", "ffv1", "yuv420p", {"level": "3", "g": "1"}),
        ("a.mov", "prores_ks", "yuv422p10le", {}),
    ],
)
def test_pictures_that_are_patched_up_are_counted(
    name: str, codec: str, pixels: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = record(tmp_path / name, codec=codec, pixels=pixels, options=options, draw=noise)
    whole = VideoReader(path).facts()
    assert (whole.damaged, whole.undecoded) == (0, 0)
    facts = VideoReader(broken(path)).facts()
    assert 1 <= facts.damaged <= 9
    assert 0 < facts.first_damage < 0.4


def test_pictures_before_the_first_that_can_be_decoded_are_counted(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mov", codec="png", pixels="rgb24")
    content = bytearray(path.read_bytes())
    first = content.index(b"IDAT")
    content[first - 30 : first + 30] = bytes(60)
    path.write_bytes(content)
    reader = VideoReader(path)
    assert len(reader.timestamps()) == 9
    assert reader.facts().undecoded == 1


# A file that changes


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 8)


@pytest.mark.parametrize("change", [rewritten, replaced, longer, Path.unlink])
@pytest.mark.parametrize("reader", [VideoReader, AudioReader])
def test_a_file_that_changes_is_noticed(
    change: Callable[[Path], None], reader: type[VideoReader | AudioReader], tmp_path: Path
) -> None:
    path = record(tmp_path / "a.mp4", sound=(0.0, 0.4))
    opened = reader(path)
    change(path)
    message = r"a\.mp4 changed during the run: it must stay as it is until the end|cannot open .*a\.mp4"
    with pytest.raises(KeySyncError, match=message):
        list(opened.frames() if isinstance(opened, VideoReader) else opened.blocks())


def test_a_file_that_changes_within_a_pass_is_noticed(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4")
    frames = VideoReader(path).frames()
    next(frames)
    longer(path)
    with pytest.raises(KeySyncError, match=r"a\.mp4 changed during the run"):
        list(frames)


def test_a_file_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look(*_: object) -> None:
        looks.append(1)

    monkeypatch.setattr("keysync.media.container.check_complete", look)
    reader = VideoReader(record(tmp_path / "a.mp4"))
    for _ in range(3):
        reader.timestamps()
    assert len(looks) == 1
