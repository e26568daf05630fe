"""Sound in: any rate, channel count, sample format and codec becomes float32 blocks, and 16 kHz mono."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from operator import add
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.media.audio import AudioReader, hear, read_speech
from keysync.media.container import MediaFile
from keysync.media.source import SoundInMemory
from keysync.media.tags import without_inner_tags

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


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
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
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
        KeySyncError, match=r"a\.mp4 has no audio track \(it contains video \(mpeg4\)\): expected a file with speech"
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


ID3V1 = b"TAG" + bytes(125)
# A picture that looks like frames of MPEG audio here and there, as a JPEG does.
PICTURE = np.random.default_rng(0).integers(0, 256, 60_000, dtype=np.uint8).tobytes() + b"\xff\xfb\x90\x64" * 50
ID3V2 = b"ID3\x04\x00\x00" + bytes((len(PICTURE) >> shift) & 127 for shift in (21, 14, 7, 0)) + PICTURE
APE_ITEMS = b"no frame " * 9
APE = b"".join(
    b"APETAGEX"
    + (2000).to_bytes(4, "little")
    + (len(APE_ITEMS) + 32).to_bytes(4, "little")
    + bytes(4)
    + flags
    + bytes(8)
    + rest
    for flags, rest in ((b"\0\0\0\xa0", APE_ITEMS), (b"\0\0\0\x80", b""))
)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.mp2", "mp2"), ("a.aac", "aac")])
@pytest.mark.parametrize(
    "between", [b"", ID3V1, ID3V2, APE, APE + ID3V1 + ID3V2, ID3V2 + bytes(300)], ids=lambda between: str(len(between))
)
def test_joined_files(between: bytes, name: str, codec: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / name, tones(1.0, 44100), 44100, codec)
    plain = read_speech(path)[1]
    path.write_bytes(path.read_bytes() + between + path.read_bytes() + between + path.read_bytes() + ID3V1)
    heard = hear(path)
    assert heard.seconds == pytest.approx(3 * plain, abs=0.2)  # each mp3 has a lead-in
    assert heard.notes == ()
    for second in (0.5, 1.5, 2.5):  # the same tone all along: no picture is heard
        part = heard.samples.numpy()[int(16000 * second) :][:3200]
        assert 5 * np.abs(np.fft.rfft(part)).argmax() == pytest.approx(200, abs=5)


def test_an_ordinary_mp3_is_not_held_in_memory(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp3", tones(1.0, 44100), 44100, "libmp3lame")
    path.write_bytes(path.read_bytes() + APE + ID3V1)
    assert without_inner_tags(MediaFile.of(path)).path == path


def ogg_checksum(page: bytes | bytearray) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def with_last_page(content: bytes, lengths: bytes) -> bytes:
    """An Ogg stream with a further page that has the end mark: packets of these lengths, of zeros."""
    last = content.rindex(b"OggS")
    page = bytearray(content[last : last + 26])
    content = content[: last + 5] + bytes([content[last + 5] & ~4]) + content[last + 6 :]
    page[5], page[18:22] = 4, (int.from_bytes(page[18:22], "little") + 1).to_bytes(4, "little")
    pages = []
    for whole in (bytearray(content[last:]), page + bytes([len(lengths)]) + lengths + bytes(sum(lengths))):
        whole[22:26] = bytes(4)
        whole[22:26] = ogg_checksum(whole).to_bytes(4, "little")
        pages.append(bytes(whole))
    return content[:last] + b"".join(pages)


@pytest.mark.parametrize("codec", ["libopus", "flac"])
@pytest.mark.parametrize("lengths", [b"\0", b"", b"\0\0"], ids=["an empty packet", "no packet", "two empty packets"])
def test_an_ogg_file_that_ends_with_nothing(lengths: bytes, codec: str, tmp_path: Path) -> None:
    """Many end so: the end mark is on a page of its own."""
    path = write_sound(tmp_path / "a.ogg", tones(2.0, 48000), 48000, codec)
    plain = hear(path)
    path.write_bytes(with_last_page(path.read_bytes(), lengths))
    ended = hear(path)
    # Without a time on its last page, Opus lacks the cut of its last packet.
    assert ended.seconds == pytest.approx(plain.seconds, abs=0.02)
    assert torch.equal(ended.samples[:31_000], plain.samples[:31_000])
    assert ended.notes == ()


def test_chained_ogg(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.ogg", tones(1.0, 48000), 48000, "libopus")
    path.write_bytes(2 * path.read_bytes())
    assert hear(path).seconds == pytest.approx(2, abs=0.05)


Times = Callable[[int], int | None]


def write_packets(
    path: Path,
    codec: str,
    samples: NDArray[np.float32],
    *,
    moved: Times = lambda pts: pts,
    rate: int = 48_000,
) -> Path:
    """One channel, its packets at the times `moved` of the encoder's, None to leave one out."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        packets: list[av.Packet[av.AudioStream]] = []
        for start in range(0, samples.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 1024]), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            assert packet.pts is not None
            time = moved(packet.pts)
            if time is not None:
                packet.pts = packet.dts = time
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mka", "pcm_s16le"), ("a.mka", "flac"), ("a.mp4", "aac"), ("a.mov", "aac")]
)
@pytest.mark.parametrize("hole", [(1.0, 2.0), (0.5, 0.7)])
def test_a_hole_in_time_is_silent(name: str, codec: str, hole: tuple[float, float], tmp_path: Path) -> None:
    begin, end = (round(second * 48000) for second in hole)
    samples = tones(3.0, 48000)
    path = write_packets(tmp_path / name, codec, samples, moved=lambda pts: None if begin <= pts < end else pts)
    heard = hear(path)
    assert heard.seconds == pytest.approx(3.0, abs=0.06)
    samples = heard.samples.numpy()
    inner = slice(round(16000 * hole[0]) + 1500, round(16000 * hole[1]) - 1500)
    assert np.abs(samples[inner]).max() < 1e-3
    assert np.abs(samples[32500:47000]).max() > 0.2
    assert len(heard.notes) == 1
    assert "holes in its sound (1, " in heard.notes[0]
    assert AudioReader(path).notes == []  # nothing is known before a pass


def test_many_small_holes_do_not_add_up(tmp_path: Path) -> None:
    path = write_packets(
        tmp_path / "a.mka", "aac", tones(10.0, 48000), moved=lambda pts: None if pts // 1024 % 10 == 5 else pts
    )
    assert hear(path).seconds == pytest.approx(10.0, abs=0.08)


def write_pieces(folder: Path, starts: Sequence[float]) -> Path:
    """A transport stream of pieces of a second, joined as recorders and HLS clients do, each with its own start."""
    path = folder / "a.ts"
    content = b""
    for start in starts:
        content += write_packets(path, "aac", tones(1.0, 48000), moved=partial(add, round(start * 48000))).read_bytes()
    path.write_bytes(content)
    return path


def test_sound_that_is_there_twice_is_heard_once(tmp_path: Path) -> None:
    heard = hear(write_pieces(tmp_path, [10, 10.5]))
    assert heard.seconds == pytest.approx(1.55, abs=0.1)
    assert heard.notes[0].endswith("s of sound twice: the repetition is dropped")


@pytest.mark.parametrize("starts", [[10, 10], [10, 9], [5000, 10], [10, 14_000], [10, 10, 10]], ids=str)
def test_a_clock_that_begins_anew_loses_nothing(starts: list[float], tmp_path: Path) -> None:
    heard = hear(write_pieces(tmp_path, starts))
    assert heard.seconds == pytest.approx(len(starts), abs=0.15)
    assert f"its timestamps restart (count: {len(starts) - 1})" in heard.notes[0]


def write_tracks(path: Path, default: int, count: int = 3) -> Path:
    """Tracks of one tone each: 440 Hz, 880 Hz and so on."""
    time = np.arange(16000) / 16000
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=16000, layout="mono") for _ in range(count)]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for number, stream in enumerate(streams):
            tone = (0.3 * np.sin(2 * np.pi * 440 * (number + 1) * time)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mka", "a.mp4"])
@pytest.mark.parametrize("default", [0, 1, 2])
def test_the_default_track_is_heard(default: int, name: str, tmp_path: Path) -> None:
    heard = hear(write_tracks(tmp_path / name, default))
    assert np.abs(np.fft.rfft(heard.samples.numpy()[:16000])).argmax() == pytest.approx(440 * (default + 1), abs=3)
    assert len(heard.notes) == 1
    assert f"has 3 audio tracks: the speech is track {default + 1} (aac" in heard.notes[0]


@pytest.mark.parametrize("unknown", [0, 1])
def test_a_track_that_cannot_be_decoded_is_passed_over(unknown: int, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mp4", unknown, count=2)
    content = bytearray(path.read_bytes())
    place = -1
    for _ in range(unknown + 1):
        place = content.index(b"mp4a", place + 1)
    content[place : place + 4] = b"apac"
    place = content.index(b"esds", place)
    content[place : place + 4] = b"free"  # what names AAC a second time
    path.write_bytes(content)
    heard = hear(path)
    assert np.abs(np.fft.rfft(heard.samples.numpy()[:16000])).argmax() == pytest.approx(440 * (2 - unknown), abs=3)
    assert heard.notes[0].endswith(f"PyAV cannot decode track {unknown + 1}")


def test_sound_that_ends_before_the_first_picture(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mkv", tones(0.5, 16000), 16000, "pcm_s16le", video_at=25)
    with pytest.raises(KeySyncError, match=r"the sound of .*a\.mkv ends before its first picture: export it again"):
        read_speech(path)


@pytest.mark.parametrize("rate", [50, 999, 768_001, 2_000_000])
def test_rates_that_no_sound_has(rate: int, tmp_path: Path) -> None:
    message = f"has {rate} samples a second, expected 1000 to 768000: export it at 16000 Hz or more"
    path = write_sound(tmp_path / "a.wav", tones(1.0, rate), rate, "pcm_s16le")
    with pytest.raises(KeySyncError, match=message):
        AudioReader(path)
    with pytest.raises(KeySyncError, match=message):
        SoundInMemory("the audio", tones(1.0, rate), rate)


def test_numbers_that_are_not_scaled_as_sound(tmp_path: Path) -> None:
    samples = tones(0.5, 16000) * 32768
    message = r"has samples up to 9\d{3}\.?\d*, expected -1 to 1: divide them by the largest number of their format"
    with pytest.raises(KeySyncError, match=message):
        read_speech(write_sound(tmp_path / "a.wav", samples, 16000, "pcm_f32le"))
    with pytest.raises(KeySyncError, match=message):
        SoundInMemory("the audio", samples, 16000)
    loud = hear(write_sound(tmp_path / "loud.wav", 20 * tones(0.5, 16000), 16000, "pcm_f32le"))
    assert loud.samples.abs().max() > 5


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", range(6))
def test_one_number_that_is_none_in_any_channel(channel: int, wrong: float, tmp_path: Path) -> None:
    samples = tones(0.2, 16000, 6)
    samples[channel, 50] = wrong
    with pytest.raises(KeySyncError, match="contains samples that are not finite numbers: export it again"):
        read_speech(write_sound(tmp_path / "a.wav", samples, 16000, "pcm_f32le"))
    with pytest.raises(KeySyncError, match="contains samples that are not finite numbers: export it again"):
        SoundInMemory("the audio", samples, 16000)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_silence_is_said(channels: int, tmp_path: Path) -> None:
    heard = hear(write_sound(tmp_path / "a.wav", 0 * tones(0.5, 16000, channels), 16000, "pcm_s16le"))
    assert len(heard.notes) == 1
    assert heard.notes[0].endswith("is silent: the lips have no speech to follow")
    assert hear(write_sound(tmp_path / "b.wav", tones(0.5, 16000), 16000, "pcm_s16le")).notes == ()


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.flac", "flac"), ("a.wav", "pcm_s16le")])
def test_eight_channels_are_read(name: str, codec: str, tmp_path: Path) -> None:
    samples = tones(1.0, 16000, 8)
    path = write_sound(tmp_path / name, samples, 16000, codec)
    heard = np.concatenate(list(AudioReader(path).blocks()), 1)[:, 4000:12000]
    for number, channel in enumerate(heard):
        if number != 3:  # AAC keeps only the lowest tones of the bass
            assert 2 * np.abs(np.fft.rfft(channel)).argmax() == pytest.approx(200 + 150 * number, abs=2)


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


def test_joined_files_of_other_rates_and_channels_are_heard_whole(tmp_path: Path) -> None:
    mono = write_sound(tmp_path / "a.mp3", tones(1.0, 44100), 44100, "mp3")
    stereo = write_sound(tmp_path / "b.mp3", np.repeat(tones(1.0, 22050), 2, axis=0), 22050, "mp3")
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(mono.read_bytes() + stereo.read_bytes() + mono.read_bytes())
    heard = hear(joined)
    assert any("changes its rate or channels" in note for note in heard.notes)
    assert heard.seconds == pytest.approx(3, abs=0.3)
    for start in (0.3, 1.4, 2.4):
        part = heard.samples[round(start * 16000) :][:6000].numpy()
        assert np.abs(np.fft.rfft(part)).argmax() * 16000 / 6000 == pytest.approx(200, abs=5)
        assert np.abs(part).max() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("name", ["a.flac", "a.mka"])
def test_a_bit_of_a_checked_frame(name: str, tmp_path: Path) -> None:
    """FLAC's frames have checksums; libav by itself plays a damaged one."""
    path = write_sound(tmp_path / name, tones(2.0, 16000), 16000, "flac")
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(KeySyncError, match=rf"{name} is (damaged or )?cut off.*: .*copy or export it again"):
        read_speech(path)


def test_more_sound_than_the_header_says(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", tones(1.0, 16000), 16000, "flac")
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    # The number of samples is the lower 36 bits before the MD5, 18 bytes into the first block.
    assert int.from_bytes(content[22:26], "big") == 16000
    content[22:26] = (15000).to_bytes(4, "big")
    path.write_bytes(content)
    assert hear(path).notes == (f"{path} has 0.062 s more sound than its header says: it is damaged or was joined",)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_alaw", "pcm_mulaw"])
def test_a_header_that_contradicts_itself(codec: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tones(0.5, 16000), 16000, codec)
    assert hear(path).notes == ()
    content = bytearray(path.read_bytes())
    place = content.index(b"fmt ") + 12
    assert int.from_bytes(content[place : place + 4], "little") == 16000
    speed = int.from_bytes(content[place + 4 : place + 8], "little")
    content[place : place + 4] = (12000).to_bytes(4, "little")
    path.write_bytes(content)
    assert hear(path).notes == (
        f"{path}: its header gives {speed} bytes a second but its rate and channels make {speed * 3 // 4}: "
        "export it again if it sounds too fast or too slow",
    )


def test_speech_in_memory_at_the_right_rate_is_not_copied() -> None:
    samples = torch.linspace(-0.5, 0.25, 16_000)[None]
    heard = hear(SoundInMemory("the audio", samples, 16_000))
    assert heard.samples.data_ptr() == samples.data_ptr()
    assert (heard.seconds, heard.notes) == (1.0, ())
    silent = hear(SoundInMemory("the audio", torch.zeros(1, 16_000), 16_000))
    assert silent.notes == ("the audio is silent: the lips have no speech to follow",)
