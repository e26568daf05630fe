"""Sound in: files, and the sound of video files, as blocks (channels, n) float32; any sound whole as 16 kHz mono."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from torch import Tensor

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from .channels import Block, Levels, Voice, known_places
from .container import MediaFile, check_input, describe_streams, libav_errors, open_input, video_tracks
from .mix import Mix
from .reader import first_picture
from .resample import Resampler
from .samples import Samples
from .source import SoundInMemory, SoundSource, check_rate, check_samples
from .speech import Speech
from .tags import is_tag, without_inner_tags

# Seconds by which timestamps may differ from the count of samples: containers round them, clocks drift. More is heard.
TOLERANCE = 0.05
# Seconds of silence that timestamps can ask for in one sound, and of repeated sound that they can drop: whoever asks
# for more has another clock, as after a recorder's restart.
LONGEST_SILENCE = 3600.0
LONGEST_OVERLAP = 10.0
# Seconds beyond the length in a header that its rounding explains.
NEGLIGIBLE = 0.001
# Formats whose header gives the exact length, as libav reads it.
EXACT_LENGTH = {"flac", "tta", "wv", "ape", "aiff", "au"}
# Codecs whose frames have checksums, which libav compares only where it is asked to.
CHECKED = {"flac", "tta", "wavpack"}
# Planar frames of so many channels go beyond the planes that PyAV finds by itself.
PLANES = 8
# An Ogg page holds at most so many packets.
OGG_PACKETS = 255
# A sound that stays below this (-80 dB) is silence with noise of its last bit.
SILENCE = 1e-4


def open_sound(sound: str | Path | SoundSource) -> SoundSource:
    """The sound of a file; any other source is one already."""
    return AudioReader(sound) if isinstance(sound, str | Path) else sound


class AudioReader:
    """The sound of a file: `rate` in samples per second, `channels`, and `is_16_bit` for samples of at most 16 bits.

    Time 0 is the first sample; in a video file it is the first picture, as in a player. Of several tracks it is the
    default one, or the first that can be decoded. Raises `KeySyncError` at once for a file without sound.
    """

    def __init__(self, file: str | Path | MediaFile) -> None:
        whole = MediaFile.of(file)
        self.name, self.path = whole.name, whole.path
        check_input(whole)
        self._file = without_inner_tags(whole)
        self._damage = Damage()
        with open_input(self._file) as container:
            track = _track(self._file, container)
            self._first_notes = _track_note(self._file, container, track) + _header_note(self.name, container, track)
            with closing(_decode(self._file, container, track, Damage())) as frames:
                first = next(frames, None)
            if first is None:
                _check_length(self.name, container, track, 0)
                raise KeySyncError(f"{self.name} has an audio track without a single sample: copy or export it again")
            # From the frame, not the header: that of HE-AAC gives half the rate.
            self.rate = first.sample_rate
            self.channels = len(first.layout.channels)
            self.places = known_places(first.layout)
            self.is_16_bit = first.format.bits <= 16
            self._lead = _lead(self._file, container, first)
        check_rate(self.rate, self.name)

    @property
    def lead(self) -> float:
        """Seconds by which the sound of a video file begins after its first picture; negative where before."""
        return self._lead

    @property
    def notes(self) -> list[str]:
        """Which of several tracks is read, and a wrong header; after a pass of `blocks`, also what it repaired."""
        return [*self._first_notes, *self._damage.notes(self.name)]

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, -1..1, in the blocks (channels, n) in which they are coded.

        Holes in the timestamps become silence; what is there twice is dropped. Raises `KeySyncError` for damage, and
        for a file that is shorter than its header says.
        """
        damage = self._damage = Damage()
        lead = self._lead
        if abs(lead) > LONGEST_SILENCE:
            damage.clocks += 1
            lead = 0.0
        skipped = round(-lead * self.rate) if lead < 0 else 0
        yield from self._silence(round(lead * self.rate))
        heard = lead > 0
        with open_input(self._file) as container:
            track = _track(self._file, container)
            with closing(_decode(self._file, container, track, damage)) as frames:
                for block in self._in_time(_uniform(frames, damage), damage):
                    rest = block[:, skipped:]
                    skipped = max(0, skipped - block.shape[1])
                    if rest.size:
                        heard = True
                        check_samples(rest, self.name)
                        yield rest
            damage.surplus = _check_length(self.name, container, track, damage.decoded / self.rate)
        if not heard:
            raise KeySyncError(f"the sound of {self.name} ends before its first picture: export it again")

    def _in_time(self, frames: Iterator[AudioFrame], damage: Damage) -> Generator[Block, None, None]:
        """Yields the samples of frames, with silence in the holes of their timestamps, and no sound twice."""
        begin: float | None = None  # the time of the first sample, as this clock has it
        earliest = 0.0
        for frame in frames:
            block = self._samples(frame)
            damage.decoded += block.shape[1]
            time = frame.time
            if time is not None:
                if begin is None:
                    begin = earliest = time
                jump = time - (begin + damage.placed / self.rate)
                if TOLERANCE < jump <= LONGEST_SILENCE - damage.silence:
                    for silence in self._silence(round(jump * self.rate)):
                        damage.placed += silence.shape[1]
                        yield silence
                    damage.silence += jump
                    damage.holes += 1
                elif -LONGEST_OVERLAP <= jump < -TOLERANCE and time > earliest + TOLERANCE:
                    twice = min(block.shape[1], round(-jump * self.rate))
                    damage.twice += twice / self.rate
                    block = block[:, twice:]
                elif abs(jump) > TOLERANCE:
                    damage.clocks += 1
                    begin, earliest = time - damage.placed / self.rate, time
            damage.placed += block.shape[1]
            yield block

    def _silence(self, samples: int) -> Generator[Block, None, None]:
        for start in range(0, samples, self.rate):
            yield np.zeros((self.channels, min(self.rate, samples - start)), np.float32)

    def _samples(self, frame: AudioFrame) -> Block:
        if frame.format.is_planar and self.channels >= PLANES:
            frame = AudioResampler(format=frame.format.packed.name).resample(frame)[0]
        coded = frame.to_ndarray()
        if not frame.format.is_planar:
            coded = coded.reshape(-1, len(frame.layout.channels)).T
        samples = coded.astype(np.float32)
        if coded.dtype == np.uint8:
            samples = samples / np.float32(128) - 1
        elif coded.dtype.kind == "i":
            samples /= 2.0 ** (8 * coded.dtype.itemsize - 1)
        if len(samples) != self.channels:
            return np.repeat(samples.mean(0, keepdims=True), self.channels, axis=0)
        return samples


@dataclass
class Damage:
    """What one pass over a sound had to repair; times are in seconds, `decoded` and `placed` in samples."""

    holes: int = 0
    silence: float = 0.0
    twice: float = 0.0
    clocks: int = 0
    corrupt: int = 0
    undecoded: int = 0
    decoded: int = 0
    placed: int = 0
    changes: bool = False
    surplus: float = 0.0

    def notes(self, name: str) -> list[str]:
        """A line for each kind of damage."""
        notes = []
        if self.holes:
            notes.append(f"{name}: holes in its sound ({self.holes}, {self.silence:.2f} s in all) become silence")
        if self.twice:
            notes.append(f"{name} has {self.twice:.2f} s of sound twice: the repetition is dropped")
        if self.clocks:
            notes.append(f"{name}: its timestamps restart (count: {self.clocks}); the sound continues without a hole")
        if self.changes:
            notes.append(f"{name} changes its rate or channels on the way: all of it follows its beginning")
        if self.corrupt:
            notes.append(f"{name}: parts of its sound are damaged (count: {self.corrupt}) and may click")
        if self.surplus:
            notes.append(
                f"{name} has {self.surplus:.3f} s more sound than its header says: it is damaged or was joined"
            )
        if self.undecoded:
            notes.append(f"{name} has {self.undecoded} bytes at its beginning or end that are not sound: skipped")
        return notes


def hear(speech: str | Path | SoundSource) -> Speech:
    """Reads a sound file, the sound of a video file or any other sound, whatever its rate, channels and codec.

    Of several channels it is what `channels.Levels` finds to be speech; of two in the same phase, their mean. Raises
    `KeySyncError` for a file without sound.
    """
    sound = open_sound(speech)
    if isinstance(sound, Mix) and sound.voice is not None:
        sound = sound.voice
    return _heard(sound, _voice(sound))


def _heard(sound: SoundSource, voice: Voice) -> Speech:
    if isinstance(sound, SoundInMemory) and (sound.rate, sound.channels) == (SAMPLE_RATE, 1):
        samples, count = Samples.sharing(sound.waveform[0]), sound.waveform.shape[1]
        loudest = max(abs(float(end)) for end in sound.waveform.aminmax())
    else:
        samples, count, loudest = _resampled(sound, voice)
    notes = [*sound.notes, *([voice.note] if voice.note else [])]
    if loudest < SILENCE:
        notes.append(f"{sound.name} is silent: the lips have no speech to follow")
    return Speech(samples, count / sound.rate, tuple(notes), partial(_heard, sound, voice))


def _resampled(sound: SoundSource, voice: Voice) -> tuple[Samples, int, float]:
    """What is said at 16 kHz, of how many samples of the sound, and the loudest of these."""
    resampler, samples, loudest, count = Resampler(sound.rate, SAMPLE_RATE), Samples(), 0.0, 0
    for block in sound.blocks():
        mono = voice(block)
        loudest, count = max(loudest, float(np.abs(mono).max(initial=0))), count + len(mono)
        samples.add(resampler.add(torch.from_numpy(mono)[None])[0])
    samples.add(resampler.finish()[0])
    return samples, count, loudest


def read_speech(speech: str | Path | SoundSource) -> tuple[Tensor, float]:
    """The samples (n,) float32 at 16 kHz and the seconds of what `hear` reads."""
    heard = hear(speech)
    return heard.samples, heard.seconds


def _voice(sound: SoundSource) -> Voice:
    """What of the channels is speech; a pass over the sound where there are several."""
    if sound.channels == 1:
        return Voice((0,))
    levels = Levels(sound.places, sound.rate)
    for block in sound.blocks():
        levels.add(block)
    return levels.voice()


def _decode(
    file: MediaFile, container: InputContainer, track: AudioStream, found: Damage
) -> Generator[AudioFrame, None, None]:
    """Yields the frames of a track; counts in `found` what cannot be decoded.

    Packets at the beginning and the end that cannot be decoded are skipped: mp3 files carry tags there. In between
    they are an error, for all later sound would be early.
    """
    if track.codec_context.name in CHECKED:
        track.codec_context.options = {"err_detect": "crccheck+explode"}
    heard = False
    damage: av.error.InvalidDataError | None = None
    for packet in _packets(file, container, track):
        with libav_errors(f"{file} is damaged or cut off ({{}}): copy or export it again"):
            content = bytes(packet)
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                damage = error
                found.undecoded += 0 if is_tag(content) else len(content)
                continue
            if frames and heard and damage:
                raise damage
        for frame in frames:
            heard, damage = True, None
            found.corrupt += frame.is_corrupt
            yield frame


def _uniform(frames: Iterator[AudioFrame], found: Damage) -> Generator[AudioFrame, None, None]:
    """Yields frames with the rate and the kind of sample of the first, as joined files need not have.

    One and two channels stay as they are; any other number becomes that of the first. Changes are noted in `found`.
    """
    first: AudioFrame | None = None
    part: tuple[str, str, int] | None = None
    to_first: AudioResampler | None = None
    for frame in frames:
        first = first or frame
        kind = _kind(frame)
        if part is not None and kind != part:
            found.changes = True
            if to_first is not None:
                yield from to_first.resample(None)
            few = max(len(frame.layout.channels), len(first.layout.channels)) <= 2
            layout = (frame if few else first).layout.name
            is_like_first = kind == _kind(first)
            to_first = None if is_like_first else AudioResampler(first.format.name, layout, first.sample_rate)
        part = kind
        yield from (frame,) if to_first is None else to_first.resample(frame)
    if to_first is not None:
        yield from to_first.resample(None)


def _kind(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _packets(
    file: MediaFile, container: InputContainer, track: AudioStream
) -> Generator[Packet[AudioStream], None, None]:
    """Yields the packets of a track, without the empty ones that many Ogg files end with."""
    packets = container.demux(track)
    empty: av.error.InvalidDataError | None = None
    left = OGG_PACKETS
    while True:
        with libav_errors(f"{file} is damaged or cut off ({{}}): copy or export it again"):
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError as error:
                left -= 1
                if container.format.name != "ogg" or left < 0:
                    raise
                # What libav calls an empty packet of Opus; whether it was one tells what follows.
                empty, packets = error, container.demux(track)
                continue
            if packet is None:
                return
            if empty is not None and packet.size:
                raise empty
        if not _is_end_mark(packet):
            yield packet


def _check_length(name: str, container: InputContainer, track: AudioStream, found: float) -> float:
    """The seconds by which `found` exceeds the length in a format's header; 0 where the header gives none.

    Raises `KeySyncError` where fewer seconds are found.
    """
    if container.format.name not in EXACT_LENGTH or not track.duration or not track.time_base:
        return 0.0
    expected = float(track.duration * track.time_base)
    if found < expected - TOLERANCE:
        raise KeySyncError(f"{name} is cut off: it has {found:.2f} of {expected:.2f} s; copy or export it again")
    return found - expected if found > expected + NEGLIGIBLE else 0.0


def _header_note(name: str, container: InputContainer, track: AudioStream) -> list[str]:
    """A contradiction in a WAV file's header: bytes a second that are not those of its rate, channels and bits."""
    codec = track.codec_context
    bits = 8 if codec.name in ("pcm_alaw", "pcm_mulaw") else int("".join(filter(str.isdecimal, codec.name)) or 0)
    if container.format.name != "wav" or not codec.name.startswith("pcm_") or not codec.bit_rate:
        return []
    expected = codec.rate * codec.channels * bits
    if codec.bit_rate == expected:
        return []
    return [
        f"{name}: its header gives {codec.bit_rate // 8} bytes a second but its rate and channels make "
        f"{expected // 8}: export it again if it sounds too fast or too slow"
    ]


def _is_end_mark(packet: Packet[AudioStream]) -> bool:
    """Whether a packet is empty and has a time; libav's own last one, which flushes the decoder, has none."""
    return packet.size == 0 and (packet.pts is not None or packet.dts is not None)


def _track(file: MediaFile, container: InputContainer) -> AudioStream:
    """The default audio track, else the first, of those that can be decoded."""
    tracks = container.streams.audio
    if not tracks:
        raise KeySyncError(
            f"{file} has no audio track (it contains {describe_streams(container)}): expected a file with speech"
        )
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        raise KeySyncError(f"{file} uses an audio codec that PyAV cannot decode: convert it to wav")
    return next((track for track in known if track.disposition & Disposition.default), known[0])


def _track_note(file: MediaFile, container: InputContainer, chosen: AudioStream) -> list[str]:
    """Which of several tracks is read."""
    tracks = container.streams.audio
    if len(tracks) == 1:
        return []
    words = [chosen.codec_context.name, chosen.language]
    if chosen.disposition & Disposition.default:
        words.append("the default one")
    unknown = [str(number) for number, track in enumerate(tracks, 1) if track.codec_context is None]
    rest = f"; PyAV cannot decode track {', '.join(unknown)}" if unknown else ""
    what = ", ".join(word for word in words if word)
    return [f"{file} has {len(tracks)} audio tracks: the speech is track {tracks.index(chosen) + 1} ({what}){rest}"]


def _lead(file: MediaFile, container: InputContainer, first: AudioFrame) -> float:
    """Seconds by which the sound of a video file begins after its picture; negative where it begins before."""
    picture = first_picture(file) if any(track.codec_context for track in video_tracks(container)) else None
    return 0.0 if picture is None or first.time is None else first.time - picture
