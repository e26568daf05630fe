"""Several sounds as one soundtrack, each heard in its own parts, block by block."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from .channels import Block, Places, assumed_places
from .source import SoundSource

# Begin and end in seconds.
Parts = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Gated:
    """A sound that is silent outside of `parts`; None: heard throughout. It lasts `seconds`, by default its own."""

    sound: SoundSource
    parts: Parts | None = None
    seconds: float | None = None

    @property
    def name(self) -> str:
        return self.sound.name

    path = None

    @property
    def rate(self) -> int:
        return self.sound.rate

    @property
    def channels(self) -> int:
        return self.sound.channels

    @property
    def places(self) -> Places:
        return self.sound.places

    @property
    def is_16_bit(self) -> bool:
        return self.sound.is_16_bit

    @property
    def notes(self) -> Sequence[str]:
        return self.sound.notes

    def blocks(self) -> Generator[Block, None, None]:
        """See `SoundSource`."""
        at, end = 0, None if self.seconds is None else round(self.seconds * self.rate)
        for block in self.sound.blocks():
            part = block[:, : None if end is None else max(0, end - at)]
            yield part if self.parts is None else part * self._heard(at, part.shape[1])
            at += block.shape[1]
        while end is not None and at < end:
            silence = min(self.rate, end - at)
            yield np.zeros((self.channels, silence), np.float32)
            at += silence

    def _heard(self, at: int, samples: int) -> Block:
        """1 for samples of a part, 0 for others: (samples,)."""
        heard = np.zeros(samples, np.float32)
        for start, stop in self.parts or ():
            heard[max(0, round(start * self.rate) - at) : max(0, round(stop * self.rate) - at)] = 1
        return heard


class Mix:
    """The sum of sounds, as long as the longest, at the highest of their rates; beyond full scale it is cut off.

    `voice` is what the speech encoders hear of it: one of the sounds, or all.
    """

    path = None
    is_16_bit = False

    def __init__(self, sounds: Sequence[SoundSource], voice: SoundSource | None = None) -> None:
        self._sounds = list(sounds)
        self.voice = voice
        self.name = " and ".join(sound.name for sound in sounds)
        self.rate = max(sound.rate for sound in sounds)
        self.channels = min(2, max(sound.channels for sound in sounds))
        self.places: Places = assumed_places(self.channels)
        self._cut = 0

    @property
    def notes(self) -> list[str]:
        """Those of the sounds; after a pass of `blocks`, also whether they are too loud together."""
        own = [note for sound in self._sounds for note in sound.notes]
        loud = f"the voices together are too loud: {self._cut} samples are cut off; lower one of them"
        return [*own, *([loud] if self._cut else [])]

    def blocks(self) -> Generator[Block, None, None]:
        """See `SoundSource`."""
        self._cut = 0
        streams = [_Stream(self._fitted(sound), self.channels) for sound in self._sounds]
        while True:
            parts = [stream.take(self.rate // 10) for stream in streams]
            longest = max(part.shape[1] for part in parts)
            if not longest:
                return
            total = np.zeros((self.channels, longest), np.float32)
            for part in parts:
                total[:, : part.shape[1]] += part
            self._cut += int((np.abs(total) > 1).sum())
            yield total.clip(-1, 1)

    def _fitted(self, sound: SoundSource) -> Iterator[Block]:
        """The blocks of a sound with the mix's channels, at its rate."""
        resampler = AudioResampler("flt", "mono" if self.channels == 1 else "stereo", self.rate)
        for block in sound.blocks():
            if block.shape[0] > 2:
                block = block.mean(0, keepdims=True)
            if block.shape[0] < self.channels:
                block = block.repeat(self.channels, 0)
            if sound.rate == self.rate:
                yield block
                continue
            packed = np.ascontiguousarray(block.T).reshape(1, -1)  # c n -> 1 (n c)
            frame = AudioFrame.from_ndarray(packed, format="flt", layout=resampler.layout.name)
            frame.sample_rate = sound.rate
            yield from map(self._samples, resampler.resample(frame))
        if sound.rate != self.rate:
            yield from map(self._samples, resampler.resample(None))

    def _samples(self, frame: AudioFrame) -> Block:
        return np.asarray(frame.to_ndarray(), dtype=np.float32).reshape(-1, self.channels).T


class _Stream:
    """Blocks of a sound, taken in other lengths."""

    def __init__(self, blocks: Iterator[Block], channels: int) -> None:
        self._blocks = blocks
        self._rest: Block = np.zeros((channels, 0), np.float32)

    def take(self, samples: int) -> Block:
        """The next samples; fewer at the end."""
        while self._rest.shape[1] < samples:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest = np.concatenate([self._rest, block], 1)
        taken, self._rest = self._rest[:, :samples], self._rest[:, samples:]
        return taken
