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

from .channels import LAYOUTS, Block, Fold, describe, folded
from .source import SoundSource

log = logging.getLogger(__name__)

AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
AAC_FALLBACK_RATE = 48_000


def soundtrack_notes(sound: SoundSource, lossless: bool) -> list[str]:
    """What of a sound a result cannot keep, a line each."""
    fold, notes = folded(sound.places, aac=not lossless), []
    there = describe(sound.places)
    if fold.layout == "mono" and sound.channels > 1:
        notes.append(f"{sound.name} has {sound.channels} channels ({there}): they are mixed to one")
    elif fold.layout != there:
        notes.append(f"{sound.name} has the channel layout {there}: the result has {fold.layout}")
    if not lossless and sound.rate not in AAC_RATES:
        notes.append(f"AAC cannot carry the {sound.rate} Hz of {sound.name}: the result has {AAC_FALLBACK_RATE} Hz")
    return notes


class Soundtrack:
    """One sound stream of an output file: AAC, or lossless with the samples as they are.

    Lossless is PCM, and WavPack for channels at other places than a reader of PCM assumes. It lasts `seconds`, or as
    long as its source where that is None.
    """

    def __init__(self, container: OutputContainer, sound: SoundSource, seconds: float | None, lossless: bool) -> None:
        self._rate = sound.rate
        self._fold: Fold = folded(sound.places, aac=not lossless)
        for note in soundtrack_notes(sound, lossless):
            log.info(note)
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
            # Packed: PyAV finds no more than 7 planes by itself.
            packed = np.ascontiguousarray(self._fold(block).T).reshape(1, -1)  # c n -> 1 (n c)
            frame = AudioFrame.from_ndarray(packed, format="flt", layout=self._fold.layout)
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
        layout, channels = self._fold.layout, self._fold.channels
        if lossless:
            if layout == LAYOUTS.get(channels):
                return container.add_stream("pcm_s16le" if sound.is_16_bit else "pcm_f32le", self._rate, layout=layout)
            stream = container.add_stream("wavpack", self._rate, layout=layout)
            stream.codec_context.format = "s16p" if sound.is_16_bit else "fltp"
            return stream
        rate = self._rate if self._rate in AAC_RATES else AAC_FALLBACK_RATE
        return container.add_stream("aac", rate, layout=layout, bit_rate=min(96_000, 4 * rate) * channels)

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
