"""Frames in: what PyAV decodes, turned as displayed, every frame under its own timestamp and in any order."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

import keysync.media.reader
from keysync.errors import KeySyncError
from keysync.media.reader import VideoReader

Frame = NDArray[np.uint8]
VARIABLE = [700, 900, 1000, 1500, 1501, 1800, 2400, 2500, 3100, 3133, 3200, 4000]


def picture(number: int, height: int = 48, width: int = 64) -> Frame:
    """A smooth picture that tells its number and which way is up."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * y, 3 * x, np.full_like(x, 10 * number % 256)], -1).clip(0, 255).astype(np.uint8)


def write_clip(
    path: Path,
    pts: Iterable[int],
    codec: str = "libx264",
    time_base: Fraction = Fraction(1, 1000),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    mov = {"movie_timescale": "1000"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=mov) as container:
        stream = container.add_stream(codec, rate=10, width=64, height=48, pix_fmt=pix_fmt, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.time_base = time_base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(*rotation)
        for number, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = stamp, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames with B-frames and open groups of pictures of twelve."""
    options = {"x264-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mp4", range(500, 6500, 100), options=options)


def test_frames_are_what_pyav_decodes(clip: Path) -> None:
    with av.open(str(clip)) as container:
        expected = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    frames = list(VideoReader(clip).frames())
    assert [pts for pts, _ in frames] == [pts for pts, _ in expected]
    assert len(frames) == 60
    for (_, frame), (_, wanted) in zip(frames, expected, strict=True):
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, wanted)


def test_info(clip: Path) -> None:
    info = VideoReader(clip).info
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert (info.rate, info.pixel_aspect) == (Fraction(10), Fraction(1))
    assert (info.bits, info.hdr, info.has_audio, info.frame_count) == (8, False, False, 60)
    assert info.duration_seconds == pytest.approx(6, abs=0.2)
    assert info.frame_duration * info.time_base == Fraction(1, 10)


def test_variable_rate_and_offset_are_kept(tmp_path: Path) -> None:
    reader = VideoReader(write_clip(tmp_path / "a.mp4", VARIABLE))
    assert [pts * reader.info.time_base * 1000 for pts, _ in reader.frames()] == VARIABLE
    assert (reader.timestamps() * float(reader.info.time_base) * 1000).round().tolist() == VARIABLE


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_rotation_and_mirroring(degrees: int, flip_x: bool, flip_y: bool, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [0, 100], rotation=(degrees, flip_x, flip_y), pixel_aspect=Fraction(4, 3))
    (_, stored), *_ = VideoReader(write_clip(tmp_path / "b.mp4", [0, 100])).frames()
    shown = np.rot90(stored, degrees // 90)
    shown = shown[:, ::-1] if flip_x else shown
    shown = shown[::-1] if flip_y else shown
    reader = VideoReader(path)
    (_, frame), *_ = reader.frames()
    assert np.array_equal(frame, shown)
    assert (reader.info.height, reader.info.width) == shown.shape[:2]
    assert reader.info.pixel_aspect == (Fraction(3, 4) if degrees % 180 else Fraction(4, 3))
    if not flip_x and not flip_y:
        assert reader.info.rotation % 360 == degrees % 360


ORDERS = {
    "through": list(range(60)),
    "repeats": [0, 0, 1, 1, 1, 2, 40, 40],
    "bounce": [*range(60), *range(58, -1, -1), *range(1, 20)],
    "falling at once": list(range(59, -1, -1)),
    "falling by twos": list(range(59, -1, -2)),
    "loop": [*range(60), *range(60), 0, 1],
    "anything": [31, 5, 5, 59, 0, 12, 11, 13, 30, 29, 28, 35, 36, 24, 23],
    "from the middle": [33, 34, 35],
    "nothing": [],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("pictures", [1, 7, 1000])
def test_pick_gives_exactly_the_frames_asked_for(
    order: list[int], pictures: int, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysync.media.reader, "CHUNK_BYTES", pictures * 3 * 64 * 48)
    reader = VideoReader(clip)
    pts, frames = zip(*reader.frames(), strict=True)
    picked = list(reader.pick(pts, iter(order)))
    assert len(picked) == len(order)
    for index, frame in zip(order, picked, strict=True):
        assert np.array_equal(frame, frames[index]), index


def test_pick_decodes_once_where_indices_never_fall(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = VideoReader(clip)
    pts = reader.timestamps()
    opened = []
    plain = VideoReader._from

    def watched(self: VideoReader, target: Any) -> Any:
        opened.append(target)
        return plain(self, target)

    monkeypatch.setattr(VideoReader, "_from", watched)
    assert len(list(reader.pick(pts, [0, 0, 3, 3, 50, 59]))) == 6
    assert len(opened) == 1


def test_two_passes_side_by_side(clip: Path) -> None:
    reader = VideoReader(clip)
    pts = reader.timestamps()
    for ahead, behind in zip(reader.pick(pts, range(20, 60)), reader.pick(pts, range(20, 60)), strict=True):
        assert np.array_equal(ahead, behind)


def test_window(clip: Path) -> None:
    whole = dict(VideoReader(clip).frames())
    stamps = list(whole)
    reader = VideoReader(clip, start=1.5, duration=2.0)
    window = dict(reader.frames())
    assert list(window) == stamps[15:35] == reader.timestamps().tolist()
    assert all(np.array_equal(window[pts], whole[pts]) for pts in window)
    assert reader.info.frame_count == 20
    assert reader.info.duration_seconds == pytest.approx(2.0)
    picked = reader.pick(list(window), [0, 19, 18, 5])
    for frame, index in zip(picked, [15, 34, 33, 20], strict=True):
        assert np.array_equal(frame, whole[stamps[index]])
    assert len(VideoReader(clip, start=5.5).timestamps()) == 5


def test_window_beyond_the_end(clip: Path) -> None:
    with pytest.raises(
        KeySyncError, match=r"clip\.mp4 has no frame in the chosen window of time: choose an earlier start"
    ):
        list(VideoReader(clip, start=100).frames())


@pytest.mark.parametrize(("start", "duration"), [(-1, None), (0, 0), (0, -2)])
def test_impossible_window(start: float, duration: float | None, clip: Path) -> None:
    with pytest.raises(KeySyncError, match="choose a start >= 0 and a duration > 0"):
        VideoReader(clip, start=start, duration=duration)


def test_timestamps_are_made_up_where_there_are_none(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "raw.h264", range(0, 1200, 100), time_base=Fraction(1, 1000))
    reader = VideoReader(path)
    pts, frames = zip(*reader.frames(), strict=True)
    assert len(pts) == 12
    assert (np.diff(pts) > 0).all()
    order = [*range(12), *range(10, -1, -1), 7, 3]
    for index, frame in zip(order, reader.pick(pts, order), strict=True):
        assert np.array_equal(frame, frames[index])


def test_file_that_changes_between_passes(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    reader = VideoReader(path)
    pts = reader.timestamps()
    write_clip(path, range(500, 2500, 100))
    with pytest.raises(KeySyncError, match=r"a\.mp4 changed during the run: it must stay as it is until the end"):
        list(reader.pick(pts, [0, 30]))


def test_damage_on_the_way(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mov", range(0, 3000, 100), codec="png", pix_fmt="rgb24")
    content = bytearray(path.read_bytes())
    middle = content.index(b"IDAT", len(content) // 2)
    content[middle - 30 : middle + 30] = bytes(60)
    path.write_bytes(content)
    reader, stamps = VideoReader(path), list[int]()
    wanted = r"a\.mov is damaged or cut off after 1\.\d+ s \(.+\): copy or export it again"
    with pytest.raises(KeySyncError, match=wanted):
        stamps.extend(pts for pts, _ in reader.frames())
    assert 5 < len(stamps) < 25


def test_no_frame_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        container.start_encoding()
    with pytest.raises(KeySyncError, match=r"a\.avi (has a video track without a single frame|cannot be read)"):
        VideoReader(path)


def write_sound(path: Path, cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        if cover:
            art = container.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
            art.disposition = Disposition.attached_pic
            still = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
            container.mux(art.encode(still))
            container.mux(art.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def test_sound_given_as_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "speech.m4a")
    with pytest.raises(
        KeySyncError, match=r"speech\.m4a has no video track \(it contains audio \(aac\)\): expected a video"
    ):
        VideoReader(path)


def test_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "song.mp4", cover=True)
    with av.open(str(path)) as container:
        assert container.streams.video
    with pytest.raises(KeySyncError, match=r"song\.mp4 has no video track"):
        VideoReader(path)


def test_largest_of_several_tracks(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10, width=w, height=32, pix_fmt="yuv420p") for w in (32, 96, 64)]
        for number in range(3):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(number, 32, stream.width), format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    reader = VideoReader(path)
    assert reader.info.width == 96
    assert [frame.shape for _, frame in reader.frames()] == [(32, 96, 3)] * 3


def test_ten_bits_are_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_clip(tmp_path / "a.mkv", [0, 100, 200], codec="ffv1", pix_fmt="yuv420p10le")
    reader = VideoReader(path)
    assert reader.info.bits == 10
    assert "has 10 bits a colour: the result has 8" in caplog.text
    assert len(list(reader.frames())) == 3


@pytest.mark.parametrize(
    ("pattern", "count", "size", "rate"),
    [("latentsync_demo1_*hevc.mp4", 250, (1080, 1920), 25), ("facerec_hamilton_cuts*.mp4", 275, (640, 360), 29.97)],
)
def test_real_clips(pattern: str, count: int, size: tuple[int, int], rate: float, media: Path) -> None:
    reader = VideoReader(next(media.glob(pattern)))
    assert (reader.info.width, reader.info.height) == size
    assert float(reader.info.rate) == pytest.approx(rate, abs=0.001)
    pts = reader.timestamps()
    assert len(pts) == count
    assert reader.info.has_audio
    turn = [count // 2, count // 2 + 1, count // 2, count // 2 - 1]
    first, _, again, _ = reader.pick(pts, turn)
    assert np.array_equal(first, again)
