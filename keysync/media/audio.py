"""Sound files, and the sound of video files, in: as blocks (channels, n) float32, or whole as 16 kHz mono."""

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
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from .container import describe_streams, libav_errors, open_input, video_tracks
from .resample import resample

Block = NDArray[np.float32]


class AudioReader:
    """The sound of a file: `rate` in samples per second, `channels`, and `is_16_bit` for samples of at most 16 bits.

    Time 0 is the first sample; in a video file it is the first picture, as a player would have it. Raises
    `KeySyncError` at once for a file without sound.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_input(self.path) as container, closing(_decode(self.path, container)) as frames:
            first = next(frames, None)
            if first is None:
                raise KeySyncError(f"{path} has an audio track without a single sample: copy or export it again")
            # The frame knows better than the header: HE-AAC says half its rate there.
            self.rate = first.sample_rate
            self.channels = len(first.layout.channels)
            self.is_16_bit = first.format.bits <= 16
            self._lead = _lead(container, first)

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, -1..1, in blocks of the size in which they are coded: (channels, n)."""
        lead = round(self._lead * self.rate)
        if lead > 0:
            yield np.zeros((self.channels, lead), np.float32)
        with open_input(self.path) as container, closing(_decode(self.path, container)) as frames:
            for frame in frames:
                block = self._samples(frame)
                if lead < 0:
                    block, lead = block[:, -lead:], min(0, lead + block.shape[1])
                if block.size:
                    yield block

    def _samples(self, frame: AudioFrame) -> Block:
        if frame.sample_rate != self.rate or len(frame.layout.channels) != self.channels:
            raise KeySyncError(
                f"{self.path} changes from {self.channels} channels at {self.rate} Hz to "
                f"{len(frame.layout.channels)} at {frame.sample_rate} Hz on the way: convert it to an ordinary wav"
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


def read_speech(path: str | Path) -> tuple[Tensor, float]:
    """Reads a sound file, or the sound of a video file, whatever its rate, channels and coding.

    Returns the mean of its channels at 16 kHz: (n,) float32, -1..1, and its length in seconds. Raises `KeySyncError`
    for what holds no sound.
    """
    reader = AudioReader(path)
    mono = np.concatenate([block.mean(axis=0, dtype=np.float32) for block in reader.blocks()])
    if not np.isfinite(mono).all():
        raise KeySyncError(f"{path} contains samples that are not finite numbers: export it again")
    seconds = len(mono) / reader.rate
    return resample(torch.from_numpy(mono)[None], reader.rate, SAMPLE_RATE)[0], seconds


def _decode(path: Path, container: InputContainer) -> Generator[AudioFrame, None, None]:
    """Yields the frames of the first audio track.

    What cannot be decoded at the beginning or the end is passed over: mp3 files carry tags there. In between it is an
    error, for all that follows would come too early.
    """
    stream = _track(path, container)
    heard = False
    damage: av.error.InvalidDataError | None = None
    packets = container.demux(stream)
    while True:
        with libav_errors(f"{path} is damaged or cut off ({{}}): copy or export it again"):
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


def _track(path: Path, container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise KeySyncError(
            f"{path} has no audio track (it holds {describe_streams(container)}): give a file with speech here"
        )
    if tracks[0].codec_context is None:
        raise KeySyncError(f"{path} holds sound coded in a way that PyAV cannot decode: convert it to wav")
    return tracks[0]


def _lead(container: InputContainer, first: AudioFrame) -> float:
    """Seconds by which the sound of a video file begins after its picture; negative where it begins before."""
    starts = [
        stream.start_time * stream.time_base
        for stream in video_tracks(container)
        if stream.start_time is not None and stream.time_base
    ]
    return first.time - float(min(starts)) if starts and first.time is not None else 0.0
