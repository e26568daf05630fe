"""Sound in: files, and the sound of video files, as blocks (channels, n) float32; any sound whole as 16 kHz mono."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from torch import Tensor

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from .container import MediaFile, describe_streams, libav_errors, open_input, video_tracks
from .reader import first_picture
from .resample import resample
from .source import Block, SoundSource


def open_sound(sound: str | Path | SoundSource) -> SoundSource:
    """The sound of a file; any other source is one already."""
    return AudioReader(sound) if isinstance(sound, str | Path) else sound


class AudioReader:
    """The sound of a file: `rate` in samples per second, `channels`, and `is_16_bit` for samples of at most 16 bits.

    Time 0 is the first sample; in a video file it is the first picture, as in a player. Raises `KeySyncError` at once
    for a file without sound.
    """

    def __init__(self, file: str | Path | MediaFile) -> None:
        self._file = MediaFile.of(file)
        self.name, self.path = self._file.name, self._file.path
        with open_input(self._file) as container, closing(_decode(self._file, container)) as frames:
            first = next(frames, None)
            if first is None:
                raise KeySyncError(f"{self.name} has an audio track without a single sample: copy or export it again")
            # From the frame, not the header: that of HE-AAC gives half the rate.
            self.rate = first.sample_rate
            self.channels = len(first.layout.channels)
            self.is_16_bit = first.format.bits <= 16
            self._lead = _lead(self._file, container, first)

    @property
    def lead(self) -> float:
        """Seconds by which the sound of a video file begins after its first picture; negative where before."""
        return self._lead

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, -1..1, in the blocks (channels, n) in which they are coded."""
        lead = round(self._lead * self.rate)
        if lead > 0:
            yield np.zeros((self.channels, lead), np.float32)
        with open_input(self._file) as container, closing(_decode(self._file, container)) as frames:
            for frame in frames:
                block = self._samples(frame)
                if lead < 0:
                    block, lead = block[:, -lead:], min(0, lead + block.shape[1])
                if block.size:
                    yield block

    def _samples(self, frame: AudioFrame) -> Block:
        if frame.sample_rate != self.rate or len(frame.layout.channels) != self.channels:
            raise KeySyncError(
                f"{self.name} changes from {self.channels} channels at {self.rate} Hz to "
                f"{len(frame.layout.channels)} at {frame.sample_rate} Hz: convert it to an ordinary wav"
            )
        coded = frame.to_ndarray()
        if not frame.format.is_planar:
            coded = coded.reshape(-1, self.channels).T
        samples = coded.astype(np.float32)
        if coded.dtype == np.uint8:
            samples = samples / np.float32(128) - 1
        elif coded.dtype.kind == "i":
            samples /= 2.0 ** (8 * coded.dtype.itemsize - 1)
        return samples


def read_speech(speech: str | Path | SoundSource) -> tuple[Tensor, float]:
    """Reads a sound file, the sound of a video file or any other sound, whatever its rate, channels and codec.

    Returns the mean of its channels at 16 kHz: (n,) float32, -1..1, and its length in seconds. Raises `KeySyncError`
    for a file without sound.
    """
    sound = open_sound(speech)
    mono = np.concatenate([block.mean(axis=0, dtype=np.float32) for block in sound.blocks()])
    if not np.isfinite(mono).all():
        raise KeySyncError(f"{sound.name} contains samples that are not finite numbers: export it again")
    seconds = len(mono) / sound.rate
    return resample(torch.from_numpy(mono)[None], sound.rate, SAMPLE_RATE)[0], seconds


def _decode(file: MediaFile, container: InputContainer) -> Generator[AudioFrame, None, None]:
    """Yields the frames of the first audio track.

    Packets at the beginning and the end that cannot be decoded are skipped: mp3 files carry tags there. In between
    they are an error, for all later sound would be early.
    """
    stream = _track(file, container)
    heard = False
    damage: av.error.InvalidDataError | None = None
    packets = container.demux(stream)
    while True:
        with libav_errors(f"{file} is damaged or cut off ({{}}): copy or export it again"):
            packet = next(packets, None)
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                damage = error
                continue
            if frames and heard and damage:
                raise damage
        for frame in frames:
            heard, damage = True, None
            yield frame


def _track(file: MediaFile, container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise KeySyncError(
            f"{file} has no audio track (it contains {describe_streams(container)}): expected a file with speech"
        )
    if tracks[0].codec_context is None:
        raise KeySyncError(f"{file} uses an audio codec that PyAV cannot decode: convert it to wav")
    return tracks[0]


def _lead(file: MediaFile, container: InputContainer, first: AudioFrame) -> float:
    """Seconds by which the sound of a video file begins after its picture; negative where it begins before."""
    picture = first_picture(file) if any(track.codec_context for track in video_tracks(container)) else None
    return 0.0 if picture is None or first.time is None else first.time - picture
