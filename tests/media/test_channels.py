"""Channels: each keeps its place in a result, and the encoder hears the speech wherever it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.media.audio import AudioReader, hear
from keysync.media.channels import LAYOUTS, places_of
from keysync.media.info import PictureFormat
from keysync.media.soundtrack import soundtrack_notes
from keysync.media.source import SoundInMemory
from keysync.media.writer import VideoWriter

RATE = 16_000
Samples = NDArray[np.float32]
# What AAC keeps by name. PyAV's decoder names no places in 6.1 as AAC has it: seven channels in its order.
KEPT = ("mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "5.0", "5.1", "7.1")
# What it does not, and the layout that stands for it.
STANDING_IN = {
    "quad(side)": "quad",
    "5.0(side)": "5.0",
    "5.1(side)": "5.1",
    "3.1": "5.1",
    "4.1": "6.1",
    "6.0": "6.1",
    "6.1(back)": "6.1",
    "hexagonal": "6.1",
    "7.0": "7.1",
    "7.1(wide)": "5.1",
    "5.1.2": "5.1",
}
# Channels that AAC adds to those beside them.
ADDED = ("FLC", "FRC", "TFL", "TFR")
ALL = (*KEPT, "6.1", *STANDING_IN)


def tones(layout: str, seconds: float = 1.0) -> Samples:
    """A tone of its own for each channel, a low one for the bass; quiet where another channel takes it up."""
    time = np.arange(round(seconds * RATE)) / RATE
    channels = [
        (0.05 if place in ADDED else 0.2) * np.sin(2 * np.pi * _pitch(layout, place) * time)
        for place in places_of(layout)
    ]
    return np.stack(channels).astype(np.float32)


def _pitch(layout: str, place: str) -> int:
    return 60 if place == "LFE" else 300 + 160 * places_of(layout).index(place)


def write_wav(path: Path, samples: Samples, layout: str, codec: str = "pcm_s16le") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        assert isinstance(stream, av.AudioStream)
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_video(path: Path, sound: Path | SoundInMemory, lossless: bool = False) -> Path:
    like = PictureFormat(32, 32, Fraction(1, 25), Fraction(25))
    with VideoWriter(path, like, audio=sound, lossless=lossless) as writer:
        for number in range(25):
            writer.write(np.zeros((32, 32, 3), np.uint8), number)
    return path


def pitches(path: Path) -> tuple[tuple[str, ...], list[int]]:
    """The place of each channel, and its loudest tone in Hz; 0 for a silent one."""
    reader = AudioReader(path)
    middle = np.concatenate(list(reader.blocks()), 1)[:, RATE // 4 : RATE // 4 + RATE // 2]
    loudest = 2 * np.abs(np.fft.rfft(middle)).argmax(1)
    return reader.places, [
        int(tone) if channel.std() > 0.01 else 0 for tone, channel in zip(loudest, middle, strict=True)
    ]


@pytest.mark.parametrize("layout", ALL)
def test_each_channel_keeps_its_place(layout: str, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tones(layout), layout)
    result = write_video(tmp_path / "out.mp4", wav)
    places, heard = pitches(result)
    assert places == places_of(STANDING_IN.get(layout, layout))
    twins = {"SL": "BL", "SR": "BR", "BL": "SL", "BR": "SR"}
    at = dict(zip(places, heard, strict=True))
    for place in places_of(layout):
        if place in ADDED:
            continue
        assert at[place if place in at else twins[place]] == pytest.approx(_pitch(layout, place), abs=2), place
    with av.open(str(result)) as container:
        if layout in KEPT:
            assert container.streams.audio[0].layout.name == layout
    notes = soundtrack_notes(AudioReader(wav), lossless=False)
    assert bool(notes) == (layout in STANDING_IN), notes


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
@pytest.mark.parametrize("layout", ALL)
def test_lossless_keeps_samples_and_layout(layout: str, codec: str, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tones(layout), layout, codec)
    result = write_video(tmp_path / "out.mkv", wav, lossless=True)
    before, after = AudioReader(wav), AudioReader(result)
    assert after.places == before.places == places_of(layout)
    first, second = (np.concatenate(list(reader.blocks()), 1) for reader in (before, after))
    assert np.array_equal(first, second)
    assert soundtrack_notes(before, lossless=True) == []


@pytest.mark.parametrize("channels", range(1, 13))
def test_channels_in_memory_are_placed_by_their_number(channels: int, tmp_path: Path) -> None:
    samples = tones("7.1")[np.arange(channels) % 8]
    sound = SoundInMemory("the audio", samples, RATE)
    with av.open(str(write_video(tmp_path / "out.mp4", sound))) as container:
        assert container.streams.audio[0].channels == (channels if channels <= 8 else 1)
    notes = soundtrack_notes(sound, lossless=False)
    assert notes == ([] if channels <= 8 else [f"the audio has {channels} channels (unknown): they are mixed to one"])
    assert channels > 8 or sound.places == places_of(LAYOUTS[channels])


# What the encoder hears


def speech(seconds: float = 1.0) -> Samples:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def loss(sound: SoundInMemory, said: Samples) -> float:
    """Decibels by which the encoder hears less than was said."""
    heard = hear(sound).samples.numpy()
    return float(20 * np.log10(np.linalg.norm(said) / (np.linalg.norm(heard) + 1e-9)))


@pytest.mark.parametrize("layout", [name for name in ALL if "FC" in places_of(name) and len(places_of(name)) > 1])
def test_dialogue_in_the_centre_is_heard_at_full_level(layout: str, tmp_path: Path) -> None:
    said, places = speech(), places_of(layout)
    samples = np.zeros((len(places), len(said)), np.float32)
    samples[places.index("FC")] = said
    heard = hear(write_wav(tmp_path / "a.wav", samples, layout, "pcm_f32le"))
    assert np.array_equal(heard.samples.numpy(), said)
    assert heard.notes == (f"the speech has the channel layout {layout}: the network hears its centre channel",)


@pytest.mark.parametrize("channels", range(2, 13))
@pytest.mark.parametrize("which", range(12))
def test_speech_in_any_one_channel_is_heard(channels: int, which: int) -> None:
    said = speech()
    samples = np.zeros((channels, len(said)), np.float32)
    samples[which % channels] = said
    sound = SoundInMemory("the audio", samples, RATE)
    bass = "LFE" in sound.places and which % channels == sound.places.index("LFE")
    assert bass or loss(sound, said) < 6.1


@pytest.mark.parametrize("gain", [-1.0, -0.9, -0.6])
def test_channels_that_cancel_each_other(gain: float) -> None:
    said = speech()
    heard = hear(SoundInMemory("the audio", np.stack((said, gain * said)).astype(np.float32), RATE))
    assert np.array_equal(heard.samples.numpy(), said)
    (note,) = heard.notes
    assert note.endswith("for 1 s, as when they cancel each other: the network hears the FL channel alone")


def test_channels_that_cancel_each_other_for_a_while() -> None:
    said, other = speech(3.0), speech(3.0)
    other[RATE : 2 * RATE] *= -1
    heard = hear(SoundInMemory("the audio", np.stack((said, other)), RATE))
    assert np.array_equal(heard.samples.numpy(), said)
    assert "for 1 s" in heard.notes[0]


def test_two_who_talk_from_either_side_are_both_heard() -> None:
    samples = np.zeros((2, 2 * RATE), np.float32)
    samples[0, :RATE] = samples[1, RATE:] = speech()
    heard = hear(SoundInMemory("the audio", samples, RATE))
    assert np.array_equal(heard.samples.numpy(), samples.mean(0))
    assert heard.notes == ()


def test_ordinary_stereo_is_the_mean() -> None:
    samples = np.random.default_rng(1).standard_normal((2, RATE), dtype=np.float32) / np.float32(10)
    heard = hear(SoundInMemory("the audio", samples, RATE))
    assert np.array_equal(heard.samples.numpy(), samples.mean(0, dtype=np.float32))
    assert heard.notes == ()
