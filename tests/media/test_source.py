"""Frames and sound in memory: the same as from a file that holds them, converted one frame at a time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader, open_sound, read_speech
from keysync.media.container import MediaFile
from keysync.media.info import PictureFormat
from keysync.media.reader import VideoReader, open_video
from keysync.media.source import Frame, FramesInMemory, SoundInMemory, SoundSource, as_bytes
from keysync.media.writer import VideoWriter

from .test_audio import tones

RATE = Fraction(25)
RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)


def write_video(path: Path, sound: Path | SoundSource | None = None, lossless: bool = True) -> Path:
    like = PictureFormat(64, 48, 1 / RATE, RATE)
    with VideoWriter(path, like, lossless=lossless, audio=sound) as writer:
        for pts, frame in enumerate(PICTURES):
            writer.write(frame, pts)
    return path


# Frames


@pytest.mark.parametrize("kind", ["bytes", "array", "tensor", "half", "rgba"])
def test_frames_of_every_kind(kind: str) -> None:
    floats = torch.from_numpy(PICTURES).float() / 255
    kinds: dict[str, NDArray[np.uint8] | NDArray[np.float32] | Tensor] = {
        "bytes": PICTURES,
        "array": floats.numpy(),
        "tensor": floats,
        "half": floats.half(),
        "rgba": torch.cat([floats, floats[..., :1]], -1),
    }
    source = FramesInMemory("the images", kinds[kind], RATE)
    frames = [frame for _, frame in source.frames()]
    assert np.array_equal(np.stack(frames), PICTURES)
    assert all(frame.dtype == np.uint8 and frame.flags.c_contiguous for frame in frames)


def test_levels_are_rounded_and_kept_in_range() -> None:
    levels = torch.tensor([-0.1, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 1.2])
    assert as_bytes(levels[:, None, None].expand(-1, 1, 3))[:, 0, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_the_same_as_a_lossless_file_of_the_frames(tmp_path: Path) -> None:
    memory, file = FramesInMemory("the images", PICTURES, RATE), VideoReader(write_video(tmp_path / "a.mkv"))
    for name in ("width", "height", "rate", "rotation", "pixel_aspect", "colours", "bits", "hdr", "frame_count"):
        assert getattr(memory.info, name) == getattr(file.info, name), name
    assert memory.info.duration_seconds == pytest.approx(file.info.duration_seconds, abs=1e-3)
    times = [[pts * source.info.time_base for pts in source.timestamps().tolist()] for source in (memory, file)]
    assert times[0] == times[1]
    last = [source.info.frame_duration * source.info.time_base for source in (memory, file)]
    assert last[0] == last[1] == Fraction(1, 25)
    order = [0, 1, 1, 5, 4, 3, 11, 0]
    picked = [np.stack(list(source.pick(source.timestamps(), order))) for source in (memory, file)]
    assert np.array_equal(picked[0], picked[1])
    assert np.array_equal(picked[0], PICTURES[order])


def test_frames_are_converted_when_they_are_asked_for() -> None:
    converted: list[int] = []

    def picture(number: Tensor) -> Frame:
        converted.append(int(number[0, 0]))
        return np.zeros((2, 3, 3), np.uint8)

    source = FramesInMemory("the masks", torch.arange(5)[:, None, None].expand(-1, 2, 3), RATE, picture)
    assert (source.info.width, source.info.height) == (3, 2)
    assert source.timestamps().tolist() == [0, 1, 2, 3, 4]
    passes = source.frames(), source.pick(source.timestamps(), [4, 2])
    assert converted == []
    for _ in range(2):
        for frames in passes:
            next(frames)
    assert converted == [0, 4, 1, 2]


def test_nothing_is_refused() -> None:
    with pytest.raises(KeySyncError, match="the images holds no frames: give at least one"):
        FramesInMemory("the images", PICTURES[:0], RATE)
    with pytest.raises(KeySyncError, match="the audio holds no samples: give a sound with at least one"):
        SoundInMemory("the audio", np.zeros((2, 0), np.float32), 16_000)


# Sound


def write_wav(path: Path, samples: NDArray[np.float32], rate: int) -> Path:
    """As floats, in one piece."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}.get(len(samples), f"{len(samples)}c")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    """The sound of a file as it is coded."""
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (48_000, 6), (22_254, 1), (44_100, 10)])
def test_the_same_soundtrack_as_from_a_file_of_the_samples(
    rate: int, channels: int, suffix: str, tmp_path: Path
) -> None:
    samples = tones(0.7, rate, channels)
    file, memory = write_wav(tmp_path / "speech.wav", samples, rate), SoundInMemory("the audio", samples, rate)
    assert np.array_equal(np.concatenate(list(memory.blocks()), 1), samples)
    results = [
        packets(write_video(tmp_path / f"{name}.{suffix}", sound, lossless=suffix == "mkv"))
        for name, sound in (("file", file), ("memory", memory))
    ]
    if suffix == "mkv":  # the samples as they are, in blocks of any size
        joined = [b"".join(data for _, data in result) for result in results]
        assert joined[0] == joined[1]
    else:
        assert len(results[0]) > 10
        assert results[0] == results[1]


@pytest.mark.parametrize("channels", [1, 2, 6, 10])
def test_the_same_speech_as_from_a_file_of_the_samples(channels: int, tmp_path: Path) -> None:
    samples = RANDOM.uniform(-1, 1, (channels, 44_107)).astype(np.float32)
    speech, seconds = read_speech(write_wav(tmp_path / "speech.wav", samples, 44_100))
    ours, same = read_speech(SoundInMemory("the audio", torch.from_numpy(samples), 44_100))
    assert seconds == same
    torch.testing.assert_close(ours, speech, rtol=0, atol=0)


def test_samples_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(KeySyncError, match="the audio contains samples that are not finite numbers: export it again"):
        read_speech(SoundInMemory("the audio", np.full((1, 10), np.nan, np.float32), 16_000))


# Files in memory


def test_a_file_in_memory_is_read_like_one_on_the_disk(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", SoundInMemory("", tones(0.5, 16_000), 16_000), lossless=False)
    inside = MediaFile(path.read_bytes(), "the video")
    readers = VideoReader(path, 0.08, 0.24), VideoReader(inside, 0.08, 0.24)
    assert readers[0].info == readers[1].info
    stamps = [reader.timestamps().tolist() for reader in readers]
    assert stamps[0] == stamps[1]
    order = [0, 3, 2, 5, 1]
    picked = [np.stack(list(reader.pick(reader.timestamps(), order))) for reader in readers]
    assert np.array_equal(picked[0], picked[1])
    together = zip(readers[1].frames(), readers[1].frames(), strict=True)
    assert all(np.array_equal(first, second) for (_, first), (_, second) in together)
    sounds = [np.concatenate(list(AudioReader(file).blocks()), 1) for file in (path, inside)]
    assert np.array_equal(sounds[0], sounds[1])
    assert (readers[1].name, readers[1].path) == ("the video", None)
    assert (readers[0].name, readers[0].path) == (str(path), path)


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", r"the video is empty \(0 bytes\)"),
    "text": (lambda content: b"lips\n" * 400, "the video (cannot be read as video or sound|is text)"),
    "cut": (lambda content: content[:-40], r"the video is cut off: it has \d+ of \d+ bytes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_in_memory(what: str, tmp_path: Path) -> None:
    change, message = REFUSED[what]
    content = change(write_video(tmp_path / "a.mp4", lossless=False).read_bytes())
    with pytest.raises(KeySyncError, match=message):
        VideoReader(MediaFile(content, "the video"))


def test_a_playlist_in_memory_opens_no_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", lossless=False)
    content = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/{video.name}\n#EXT-X-ENDLIST\n"
    with pytest.raises(KeySyncError, match="the video cannot be read"):
        VideoReader(MediaFile(content.encode(), "the video"))


def test_a_source_is_opened_as_it_is(tmp_path: Path) -> None:
    frames, sound = FramesInMemory("the images", PICTURES, RATE), SoundInMemory("the audio", tones(0.1, 16_000), 16_000)
    assert open_video(frames) is frames
    assert open_sound(sound) is sound
    path = write_video(tmp_path / "a.mp4", sound, lossless=False)
    assert open_video(str(path)).path == open_sound(path).path == path
