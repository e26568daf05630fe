"""Sound in: any rate, channel count, sample format and codec becomes float32 blocks, and 16 kHz mono."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader, read_speech

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def tones(seconds: float, rate: int, channels: int = 1) -> NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * (200 + 150 * n) * time) for n in range(channels)]).astype(np.float32)


def write_sound(path: Path, samples: NDArray[np.float32], rate: int, codec: str, video_at: int | None = None) -> Path:
    layout = LAYOUTS[samples.shape[0]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if video_at is not None:
            pictures = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
            for number in range(10):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                picture.pts, picture.time_base = number + video_at, Fraction(1, 25)
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


CODECS = {
    "pcm_u8": 1 / 100,
    "pcm_s16le": 1 / 30000,
    "pcm_s24le": 1e-6,
    "pcm_s32le": 1e-6,
    "pcm_f32le": 0,
    "pcm_f64le": 0,
    "pcm_alaw": 0.02,
}


@pytest.mark.parametrize(("codec", "tolerance"), CODECS.items())
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sample_formats(codec: str, tolerance: float, channels: int, tmp_path: Path) -> None:
    samples = tones(0.3, 16000, channels)
    path = write_sound(tmp_path / "a.wav", samples, 16000, codec)
    reader = AudioReader(path)
    heard = np.concatenate(list(reader.blocks()), 1)
    assert (reader.rate, reader.channels) == (16000, channels)
    assert reader.is_16_bit == (codec in ("pcm_u8", "pcm_s16le", "pcm_alaw"))
    assert heard.dtype == np.float32
    assert heard.shape == samples.shape
    assert np.abs(heard - samples).max() <= tolerance
    mono, seconds = read_speech(path)
    assert (mono.dtype, mono.shape, seconds) == (torch.float32, (4800,), 0.3)
    spoken = samples[2] if channels == 6 else samples.mean(0)  # of 5.1 the centre
    assert torch.allclose(mono, torch.from_numpy(spoken), atol=tolerance + 1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000])
def test_rates(rate: int, tmp_path: Path) -> None:
    mono, seconds = read_speech(write_sound(tmp_path / "a.wav", tones(0.5, rate), rate, "pcm_f32le"))
    assert seconds == 0.5
    assert mono.shape == (8000,)
    inner = slice(500, -500)
    assert np.abs(mono.numpy() - tones(0.5, 16000)[0])[inner].max() < 0.01


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.flac", "flac"), ("a.m4a", "aac"), ("a.mka", "aac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus")],
)
def test_codecs(name: str, codec: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / name, tones(1.0, 48000, 2), 48000, codec)
    mono, seconds = read_speech(path)
    assert seconds == pytest.approx(1, abs=0.05)
    wanted = tones(1.0, 16000, 2).mean(0)
    inner = slice(4000, 12000)
    assert np.corrcoef(mono.numpy()[inner], wanted[inner])[0, 1] > 0.98


@pytest.mark.parametrize("late", [0, 5])
def test_sound_of_a_video_begins_with_its_picture(late: int, tmp_path: Path) -> None:
    """What is heard before the first picture is not part of the video's speech."""
    samples = tones(1.0, 16000)
    path = write_sound(tmp_path / "a.mkv", samples, 16000, "pcm_f32le", video_at=late)
    heard = np.concatenate(list(AudioReader(path).blocks()), 1)
    assert np.array_equal(heard, samples[:, late * 640 :])


def test_sound_that_begins_after_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    samples = tones(0.5, 16000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=16000, layout="mono")
        pictures = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 3200, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = np.concatenate(list(AudioReader(path).blocks()), 1)
    assert not heard[:, :3200].any()
    assert np.array_equal(heard[:, 3200:], samples)


def test_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(pictures.encode(None))
    with pytest.raises(
        KeySyncError, match=r"a\.mp4 has no audio track \(it holds video \(mpeg4\)\): give a file with speech"
    ):
        read_speech(path)


def test_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        container.add_stream("pcm_s16le", rate=16000, layout="mono")
        container.start_encoding()
    with pytest.raises(
        KeySyncError, match=r"a\.wav has an audio track without a single sample: copy or export it again"
    ):
        read_speech(path)


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    samples = tones(0.1, 16000)
    samples[0, 50] = np.nan
    path = write_sound(tmp_path / "a.wav", samples, 16000, "pcm_f32le")
    with pytest.raises(KeySyncError, match=r"a\.wav contains samples that are not finite numbers: export it again"):
        read_speech(path)


def test_tags_around_an_mp3_do_no_harm(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp3", tones(1.0, 44100), 44100, "libmp3lame")
    _, plain = read_speech(path)
    path.write_bytes(path.read_bytes() + b"APETAGEX" + b"no frame " * 50 + b"TAG" + bytes(125))
    _, tagged = read_speech(path)
    assert tagged == pytest.approx(plain, abs=0.03)


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mka", tones(4.0, 16000), 16000, "flac")
    content = bytearray(path.read_bytes())
    header = content.index(b"\xff\xf8", len(content) // 2)
    content[header : header + 4] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(KeySyncError, match=r"a\.mka is damaged or cut off \(.+\): copy or export it again"):
        read_speech(path)


def test_real_speech(media: Path) -> None:
    lengths = {path.name: read_speech(path) for path in sorted(media.glob("*.wav"))}
    assert {name: round(seconds, 2) for name, (_, seconds) in lengths.items()} == {
        "echomimic_en_24k.wav": 5.24,
        "latentsync_demo1_16k_mono.wav": 9.6,
        "multitalk_man_44k1.wav": 8.52,
        "multitalk_woman_44k1.wav": 8.52,
        "sadtalker_radio31_16k.wav": 8.0,
    }
    for mono, seconds in lengths.values():
        assert len(mono) == pytest.approx(16000 * seconds, abs=1)
        assert 0.01 < mono.std() < 0.5
    assert read_speech(next(media.glob("latentsync*.mp4")))[1] == pytest.approx(10, abs=0.05)
