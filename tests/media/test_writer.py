"""Frames out: every frame, timestamp and colour as it was given, the new speech beside them, nothing half-written."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader, read_speech
from keysync.media.info import Colours, PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.writer import VideoWriter, check_output

from .. import clips

Frame = NDArray[np.uint8]
VARIABLE = [700, 900, 1000, 1500, 1501, 1800, 2400, 2500, 3100, 3133, 3200, 4000]
LIKE = PictureFormat(width=64, height=48, time_base=Fraction(1, 1000), rate=Fraction(25))


def picture(number: int, like: PictureFormat = LIKE) -> Frame:
    """A smooth coloured picture that changes slowly."""
    y, x = np.mgrid[: like.height, : like.width] / [[[like.height]], [[like.width]]]
    channels = [40 + 170 * x, 50 + 150 * y, 120 + 90 * np.sin(3 * x + 2 * y + number / 5)]
    return np.stack(channels, -1).round().astype(np.uint8)


def write(path: Path, pts: list[int], like: PictureFormat = LIKE, **options: Any) -> Path:
    with VideoWriter(path, like, **options) as writer:
        for number, stamp in enumerate(pts):
            writer.write(picture(number, like), stamp)
    return path


def write_wav(path: Path, seconds: float = 2.0, rate: int = 16000, channels: int = 1, codec: str = "pcm_s16le") -> Path:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    time = np.arange(round(seconds * rate)) / rate
    tones = np.stack([np.sin(2 * np.pi * (300 + 100 * channel) * time) for channel in range(channels)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray((0.5 * tones).astype(np.float32), format="fltp", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4"])
@pytest.mark.parametrize("audio", [False, True])
def test_every_frame_and_timestamp_is_kept(suffix: str, audio: bool, tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "speech.wav") if audio else None
    path = write(tmp_path / f"out{suffix}", VARIABLE, audio=sound, seconds=3.5 if audio else None)
    reader = VideoReader(path)
    assert [pts * reader.info.time_base * 1000 for pts, _ in reader.frames()] == VARIABLE
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.parametrize(
    "time_base", [Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 12800), Fraction(1, 11988)]
)
def test_odd_time_bases_and_many_frames(time_base: Fraction, tmp_path: Path) -> None:
    like = replace(LIKE, time_base=time_base, rate=Fraction(30000, 1001))
    step = max(1, round(1 / (like.rate * time_base)))
    pts = [step * number + 3 * step for number in range(100)]
    reader = VideoReader(write(tmp_path / "out.mp4", pts, like))
    assert [stamp * reader.info.time_base for stamp in reader.timestamps().tolist()] == [p * time_base for p in pts]
    assert float(reader.info.rate) == pytest.approx(29.97, abs=0.01)
    with av.open(str(reader.path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        # The last frame lasts as long as the others.
        assert stream.duration * stream.time_base == 100 * step * time_base


@pytest.mark.parametrize(("suffix", "lossless"), [("mp4", False), ("mov", False), ("mkv", False), ("mkv", True)])
@pytest.mark.parametrize("last", [40, 1640])
def test_the_last_frame_is_shown_until_the_end(suffix: str, lossless: bool, last: int, tmp_path: Path) -> None:
    pts = list(range(0, 1000, 40))
    path = write(tmp_path / f"out.{suffix}", pts, lossless=lossless, seconds=(pts[-1] + last) / 1000)
    reader = VideoReader(path)
    assert reader.seconds() == pytest.approx((pts[-1] + last) / 1000, abs=1e-9)
    assert reader.info.duration_seconds == pytest.approx((pts[-1] + last) / 1000, abs=1e-9)
    if last == 40:
        assert reader.info.rate == 25


@pytest.mark.parametrize(("height", "kept"), [(48, True), (46, False)])
def test_fields_need_rows_for_each(height: int, kept: bool, tmp_path: Path) -> None:
    like = replace(LIKE, height=height, field_order="tt")
    assert like.keeps_fields() is kept
    assert like.keeps_fields(lossless=True)
    result = VideoReader(write(tmp_path / "out.mp4", [0, 40, 80], like))
    assert result.info.field_order == ("tt" if kept else "")


def test_matroska_counts_milliseconds(tmp_path: Path) -> None:
    like = replace(LIKE, time_base=Fraction(1001, 30000), rate=Fraction(30000, 1001))
    reader = VideoReader(write(tmp_path / "out.mkv", list(range(50)), like, lossless=True))
    exact = np.arange(50) * 1001 / 30
    assert np.abs(reader.timestamps() - exact).max() <= 0.5 + 1e-9


def test_time_before_zero_is_shifted(tmp_path: Path) -> None:
    reader = VideoReader(write(tmp_path / "out.mp4", [-200, -100, 0, 150]))
    assert [stamp * reader.info.time_base * 1000 for stamp in reader.timestamps().tolist()] == [0, 100, 200, 350]


COLOURS = {
    "BT.709 limited": Colours(1, 1, 1, 1),
    "BT.709 full": Colours(1, 2, 1, 1),
    "BT.601 limited": Colours(6, 1, 6, 6),
    "BT.601 PAL full": Colours(5, 2, 5, 6),
    "BT.2020": Colours(9, 1, 9, 14),
    "not said": Colours(),
    "matrix alone": Colours(matrix=1),
}


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (64, 47)])
@pytest.mark.parametrize("colours", COLOURS.values(), ids=COLOURS)
def test_colours_do_not_shift(colours: Colours, size: tuple[int, int], tmp_path: Path) -> None:
    like = PictureFormat(*size, Fraction(1, 25), Fraction(25), Fraction(4, 3), colours)
    reader = VideoReader(write(tmp_path / "out.mp4", list(range(6)), like))
    # H.264 says nothing of its range only where it says nothing at all.
    assert reader.info.colours == replace(colours, range=colours.range or int(colours != Colours()))
    assert (reader.info.width, reader.info.height, reader.info.pixel_aspect) == (*size, Fraction(4, 3))
    shift = np.mean(
        [frame - picture(number, like).astype(int) for number, (_, frame) in enumerate(reader.frames())], (0, 1, 2)
    )
    assert np.abs(shift).max() < 0.8, shift


def test_a_second_generation_is_like_the_first(tmp_path: Path) -> None:
    """What the dub does not touch keeps its luma and chroma: nothing fades from copy to copy."""
    path = write(tmp_path / "0.mp4", list(range(5)))
    for generation in range(1, 4):
        reader = VideoReader(path)
        path = tmp_path / f"{generation}.mp4"
        with VideoWriter(path, reader.info) as writer:
            for pts, frame in reader.frames():
                writer.write(frame, pts)
    with av.open(str(tmp_path / "0.mp4")) as first, av.open(str(path)) as last:
        for before, after in zip(first.decode(video=0), last.decode(video=0), strict=True):
            difference = after.to_ndarray().astype(int) - before.to_ndarray()
            assert abs(difference.mean()) < 0.5
            assert np.abs(difference).mean() < 1.5


def test_matrices_that_cannot_be_written_become_bt709(tmp_path: Path) -> None:
    like = replace(LIKE, colours=Colours(matrix=8, range=1, primaries=1, transfer=1))
    reader = VideoReader(write(tmp_path / "out.mp4", [0, 40], like))
    assert reader.info.colours == Colours(1, 1, 1, 1)


def test_odd_size_is_kept_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        write(tmp_path / "out.mp4", [0, 40], replace(LIKE, width=33))
    assert "33x48 is odd" in caplog.text


@pytest.mark.parametrize("size", [(64, 48), (31, 17)])
def test_lossless_keeps_every_bit(size: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (7, size[1], size[0], 3), dtype=np.uint8)
    like = PictureFormat(*size, Fraction(1, 1000), Fraction(25))
    with VideoWriter(tmp_path / "out.mkv", like, lossless=True) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, VARIABLE[number])
    reader = VideoReader(tmp_path / "out.mkv")
    assert reader.info.colours.matrix == 1
    for (pts, frame), wanted, stamp in zip(reader.frames(), frames, VARIABLE, strict=False):
        assert pts == stamp
        assert np.array_equal(frame, wanted)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (24000, 1), (48000, 6)])
def test_speech_keeps_its_rate_and_channels(rate: int, channels: int, suffix: str, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "speech.wav", 2.0, rate, channels)
    path = write(tmp_path / f"out{suffix}", list(range(0, 2000, 40)), audio=wav)
    reader, source = AudioReader(path), AudioReader(wav)
    assert (reader.rate, reader.channels) == (rate, channels)
    heard = np.concatenate(list(reader.blocks()), 1)
    said = np.concatenate(list(source.blocks()), 1)
    middle = slice(rate // 2, rate)
    for channel in range(channels - 1 if channels == 6 else channels):
        if channels == 6 and channel == 3:
            continue  # the codec keeps only the lowest tones of the bass channel
        correlation = np.corrcoef(heard[channel, middle], said[channel, middle])[0, 1]
        assert correlation > 0.98, (channel, correlation)


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.3, None])
def test_speech_is_cut_or_padded(seconds: float | None, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "speech.wav", 2.0)
    path = write(tmp_path / "out.mkv", VARIABLE, audio=wav, seconds=seconds, lossless=True)
    heard = np.concatenate(list(AudioReader(path).blocks()), 1)[0]
    assert len(heard) == round(16000 * (seconds or 2.0))
    said = np.concatenate(list(AudioReader(wav).blocks()), 1)[0]
    shared = min(len(said), len(heard))
    assert np.array_equal(heard[:shared], said[:shared])
    assert not heard[shared:].any()
    path = write(tmp_path / "out.mp4", VARIABLE, audio=wav, seconds=seconds)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.start_time is not None
        assert stream.duration is not None
        assert stream.time_base is not None
        # From the first picture on; an AAC stream that begins later brings its lead-in of 1024 samples along.
        end = (stream.start_time + stream.duration) * stream.time_base
        assert float(end) == pytest.approx(0.7 + (seconds or 2.0), abs=0.002)


def test_rates_that_aac_cannot_carry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wav = write_wav(tmp_path / "speech.wav", 1.0, 22254)
    with caplog.at_level(logging.INFO):
        path = write(tmp_path / "out.mp4", list(range(0, 1000, 40)), audio=wav)
    assert "AAC cannot carry the 22254 Hz" in caplog.text
    reader = AudioReader(path)
    assert reader.rate == 48000
    assert sum(block.shape[1] for block in reader.blocks()) == pytest.approx(48000, abs=1100)
    assert AudioReader(write(tmp_path / "out.mkv", [0], audio=wav, lossless=True)).rate == 22254


def test_speech_of_a_video_file(tmp_path: Path) -> None:
    spoken = write(tmp_path / "spoken.mp4", list(range(0, 2000, 40)), audio=write_wav(tmp_path / "speech.wav"))
    path = write(tmp_path / "out.mp4", list(range(0, 1000, 40)), audio=spoken, seconds=1.0)
    assert sum(block.shape[1] for block in AudioReader(path).blocks()) == pytest.approx(16000, abs=1100)


def test_sound_starts_with_a_late_picture_of_coarse_time(tmp_path: Path) -> None:
    like = replace(LIKE, time_base=Fraction(1, 25), rate=Fraction(25))
    sound = write_wav(tmp_path / "speech.wav")
    path = write(tmp_path / "out.mp4", list(range(25, 75)), like, audio=sound, seconds=2.0)
    heard, spoken = (read_speech(file)[0][:16_000].numpy() for file in (path, sound))
    assert np.corrcoef(heard, spoken)[0, 1] > 0.99


def test_sound_and_picture_are_interleaved(tmp_path: Path) -> None:
    path = write(
        tmp_path / "out.mkv", list(range(0, 4000, 40)), audio=write_wav(tmp_path / "a.wav", 4.0), lossless=True
    )
    latest = {"video": 0.0, "audio": 0.0}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None:
                latest[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(latest["video"] - latest["audio"]) < 1


@pytest.mark.parametrize("name", ["out.avi", "out", "out.webm"])
def test_unknown_suffix(name: str, tmp_path: Path) -> None:
    message = rf"{name} has an unsupported file extension for a result: expected \.mp4, \.mov, \.mkv"
    with pytest.raises(KeySyncError, match=message):
        VideoWriter(tmp_path / name, LIKE)


def test_lossless_wants_mkv(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"has an unsupported file extension for a lossless result: expected \.mkv"):
        VideoWriter(tmp_path / "out.mp4", LIKE, lossless=True)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"out\.mp4 cannot be written: the folder .*none does not exist; create"):
        VideoWriter(tmp_path / "none" / "out.mp4", LIKE)


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(KeySyncError, match=r"out\.mp4 is a folder: choose another name for the result"):
        VideoWriter(tmp_path / "out.mp4", LIKE)


def test_output_is_an_input(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [0, 40], audio=write_wav(tmp_path / "a.wav", 0.1))
    with pytest.raises(KeySyncError, match=r"a\.mp4 is also an input: choose another name for the result"):
        VideoWriter(path, LIKE, audio=tmp_path / ".." / tmp_path.name / "a.mp4")
    with pytest.raises(KeySyncError, match="is also an input"):
        check_output(path, [tmp_path / "none.mp4", path])
    assert check_output(tmp_path / "new.mp4", [path]) == tmp_path / "new.mp4"


@pytest.mark.parametrize("raised", [RuntimeError, KeyboardInterrupt, KeySyncError])
@pytest.mark.parametrize("written", [0, 3, 90])
def test_an_exception_leaves_the_older_file(raised: type[BaseException], written: int, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav")
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")

    def stop() -> None:
        with VideoWriter(path, LIKE, audio=wav, seconds=9) as writer:
            for number in range(written):
                writer.write(picture(number), 40 * number)
            raise raised("stopped")

    with pytest.raises(raised):
        stop()
    assert path.read_bytes() == b"older"
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.wav", "out.mp4"}


def test_no_frames_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"out\.mp4 is not written: it has no frame"):
        write(tmp_path / "out.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_speech_without_sound_leaves_no_file(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.mp4", [0, 40])
    with pytest.raises(KeySyncError, match=r"silent\.mp4 has no audio track"):
        write(tmp_path / "out.mp4", [0], audio=silent)
    assert list(tmp_path.iterdir()) == [silent]


@pytest.mark.parametrize("limit", [0, 4000, 150_000])
def test_full_disk(limit: int, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    rng = np.random.default_rng(0)
    path = tmp_path / "out.mkv"
    path.write_bytes(b"older")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        with VideoWriter(path, LIKE, lossless=True) as writer:
            for number in range(40):
                writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), 40 * number)

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(
            KeySyncError, match=r"out\.mkv cannot be written \(.+\): free some space or choose another place"
        ):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("frame", [np.zeros((48, 63, 3), np.uint8), np.zeros((48, 64, 3), np.float32)])
def test_frames_must_fit(frame: Frame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64x48 uint8"), VideoWriter(tmp_path / "out.mp4", LIKE) as writer:
        writer.write(frame, 0)
    assert list(tmp_path.iterdir()) == []


def test_libav_writes_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "out.mp4", VARIABLE, audio=write_wav(tmp_path / "a.wav"))
    assert capfd.readouterr() == ("", "")


def test_real_clips(media: Path, tmp_path: Path) -> None:
    """Frame count, size and every timestamp survive, whatever the clip."""
    for source in sorted(media.glob("*.mp4")):
        reader = VideoReader(source, duration=1.2)
        with VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
            for pts, frame in reader.frames():
                writer.write(frame, pts)
        copy = VideoReader(tmp_path / "out.mp4")
        assert (copy.info.width, copy.info.height) == (reader.info.width, reader.info.height)
        ours, theirs = (
            [stamp * other.info.time_base for stamp in other.timestamps().tolist()] for other in (copy, reader)
        )
        assert ours == theirs


@pytest.mark.parametrize("size", [(96, 80), (176, 144), (360, 288)])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [clips.picture(n, 0, *size) for n in range(30)]
    assert len({clips.write_video(tmp_path / "out.mp4", frames).read_bytes() for _ in range(6)}) == 1
