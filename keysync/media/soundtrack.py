"""The new speech on its way into an output file: decoded, cut or padded and encoded, block by block."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from .source import Block, SoundSource

log = logging.getLogger(__name__)

AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
AAC_FALLBACK_RATE = 48_000
# Channels keep their number and order; more than these are mixed to one.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


class Soundtrack:
    """One sound stream of an output file. Lossless: PCM with the samples as they are; otherwise AAC.

    It lasts `seconds`, or as long as its source where that is None.
    """

    def __init__(self, container: OutputContainer, sound: SoundSource, seconds: float | None, lossless: bool) -> None:
        self._rate = sound.rate
        self._layout = LAYOUTS.get(sound.channels, "mono")
        if sound.channels not in LAYOUTS:
            log.warning("%s has %d channels: they are mixed to one", sound.name, sound.channels)
        self._blocks = self._fitted(sound, seconds)
        self._sent = 0
        self._offset = 0
        self._stream = self._add_stream(container, sound, lossless)

    def start(self, seconds: Fraction) -> None:
        """Sets the time of the first sample; before the first `advance`."""
        self._offset = round(seconds * self._rate)

    def advance(self, seconds: float) -> Iterator[Packet[AudioStream]]:
        """Yields packets until this many seconds of sound are encoded, or all of it."""
        while self._sent < seconds * self._rate:
            block = next(self._blocks, None)
            if block is None:
                return
            if block.shape[0] not in LAYOUTS:
                block = block.mean(axis=0, keepdims=True, dtype=np.float32)
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self._layout)
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self._offset + self._sent
            self._sent += block.shape[1]
            yield from self._stream.encode(frame)

    def finish(self) -> Iterator[Packet[AudioStream]]:
        """Yields the packets of the rest."""
        yield from self.advance(float("inf"))
        yield from self._stream.encode(None)

    def close(self) -> None:
        """Closes the source."""
        self._blocks.close()

    def _add_stream(self, container: OutputContainer, sound: SoundSource, lossless: bool) -> AudioStream:
        if lossless:
            return container.add_stream(
                "pcm_s16le" if sound.is_16_bit else "pcm_f32le", rate=self._rate, layout=self._layout
            )
        rate = self._rate
        if rate not in AAC_RATES:
            rate = AAC_FALLBACK_RATE
            log.info("AAC cannot carry the %d Hz of %s: the result has %d Hz", self._rate, sound.name, rate)
        channels = list(LAYOUTS.values()).index(self._layout) + 1
        return container.add_stream("aac", rate=rate, layout=self._layout, bit_rate=min(96_000, 4 * rate) * channels)

    def _fitted(self, sound: SoundSource, seconds: float | None) -> Generator[Block, None, None]:
        """The blocks of the source, cut or padded with silence."""
        left = None if seconds is None else round(seconds * sound.rate)
        for block in sound.blocks():
            if left is None:
                yield block
                continue
            if left == 0:
                return
            yield block[:, :left]
            left -= min(left, block.shape[1])
        while left:
            silence = min(left, sound.rate)
            yield np.zeros((sound.channels, silence), np.float32)
            left -= silence
