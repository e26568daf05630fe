"""Voice activity: where speech pauses, by its own level, and features that are those of silence there.

The level of a voice falls by 30 dB and more in a pause, down to the noise of the room. Whatever is above that noise by
a share of the range from it to the loud parts counts as speech, in runs: a closure inside a word is no pause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..method import NETWORK_RATE, SAMPLE_RATE
from .features import ROW

# Hz: hum is below this band, hiss above.
BAND = (120.0, 5500.0)
# dB of full scale: what is below is digital silence, not the noise of a room; a sound that stays below is silent.
DIGITAL, SILENT = -90.0, -60.0
# Percentiles of the levels that stand for the noise and for the loud parts.
NOISE, LOUD = 10.0, 95.0
# A level is speech above this share of the range from the noise to the loud parts, this many dB below these at most.
SHARE, DEPTH = 0.3, 42.0
# Loud parts that exceed the noise by less are music or noise throughout: nothing is known to be a pause.
LEAST_RANGE = 12.0
# Seconds: the shortest pause; the sound after a voice ends and before it begins in which the mouth still moves.
SHORTEST, AFTER, BEFORE = 0.3, 0.06, 0.1
# Seconds in which the features change between those of speech and those of silence.
FADE = 0.08
# Seconds of silence that an encoder hears to tell its features of silence, which are those of the middle.
HEARD = 2.0

Pauses = list[tuple[float, float]]


class Rows(Protocol):
    """What an encoder gives for a whole speech: values (n, ...) at times (n,) in seconds."""

    def at(self, times: Any, /) -> Tensor: ...


class Encoder(Protocol):
    """A speech encoder, as far as it is used here."""

    def encode(self, waveform: Tensor, /) -> Rows: ...


def pauses(waveform: Tensor) -> Pauses:
    """Start and stop in seconds of each pause in a waveform (n,) float32, 16 kHz mono, in order.

    The whole of a sound without any speech is one pause; a sound of level noise or music has none.
    """
    level = levels(waveform.cpu().numpy())
    if not len(level):
        return []
    if level.max() <= SILENT:
        return [(0.0, len(waveform) / SAMPLE_RATE)]
    heard = level[level > DIGITAL]
    noise, loud = (float(value) for value in np.percentile(heard, (NOISE, LOUD)))
    wide = loud - noise >= LEAST_RANGE
    threshold = max(noise + SHARE * (loud - noise), loud - DEPTH) if wide else DIGITAL
    edges = np.flatnonzero(np.diff(np.concatenate(([0], level <= threshold, [0]))))
    found = []
    for first, stop in edges.reshape(-1, 2).tolist():
        # At both ends of the sound there is no voice to wait for.
        start = first * ROW / SAMPLE_RATE + (AFTER if first else 0.0)
        end = stop * ROW / SAMPLE_RATE - BEFORE if stop < len(level) else len(waveform) / SAMPLE_RATE
        if (stop - first) * ROW / SAMPLE_RATE >= SHORTEST and end > start:
            found.append((start, end))
    return found


def quiet_share(found: Pauses, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """How far each of `times` (n,) in seconds is in a pause: 0 in speech, 1 from `FADE` seconds inside a pause on."""
    share = np.zeros(len(times))
    for start, stop in found:
        # No voice ends before a pause at the beginning: nothing fades there.
        into = (times - start) / FADE if start > 0 else np.where(times >= start, 1.0, 0.0)
        share = np.maximum(share, np.clip(np.minimum(into, (stop - times) / FADE), 0, 1))
    return share.astype(np.float32)


@dataclass(frozen=True, eq=False)
class QuietRows:
    """Rows of speech that are those of `silence` (...) in the pauses."""

    rows: Rows
    silence: Tensor
    pauses: Pauses

    def at(self, times: Any) -> Tensor:
        """The rows (n, ...) at times (n,) in seconds."""
        rows = self.rows.at(times)
        share = torch.from_numpy(quiet_share(self.pauses, np.asarray(times, np.float64)))
        return torch.lerp(rows, self.silence.to(rows), share.reshape(-1, *(1,) * (rows.ndim - 1)).to(rows))


def quieted(encoder: Encoder, rows: Rows, found: Pauses, seconds: float) -> QuietRows:
    """What an encoder has made of a speech of so many seconds, with its features of silence in the pauses."""
    # No voice begins after a pause at the end.
    return QuietRows(
        rows, silence_of(encoder), [(start, stop if stop < seconds else math.inf) for start, stop in found]
    )


def silence_of(encoder: Encoder) -> Tensor:
    """The features (...) of a frame of silence: the middle of `HEARD` seconds."""
    frames = (np.arange(round(HEARD * NETWORK_RATE))) / NETWORK_RATE
    rows = encoder.encode(torch.zeros(round(HEARD * SAMPLE_RATE))).at(frames)
    return rows[len(rows) // 4 : len(rows) * 3 // 4].mean(0)


def levels(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """The level in `BAND` of each row of `ROW` samples, over two rows: (rows,) in dB of full scale."""
    rows = len(waveform) // ROW
    if not rows:
        return np.empty(0)
    padded = np.pad(waveform[: rows * ROW].astype(np.float32), (ROW // 2, ROW))
    hertz = np.fft.rfftfreq(2 * ROW, 1 / SAMPLE_RATE)
    inside = (hertz >= BAND[0]) & (hertz <= BAND[1])
    window = np.hanning(2 * ROW)
    scale = 2 / (len(window) * np.square(window).sum())
    level = np.empty(rows)
    for first in range(0, rows, 4096):  # in portions: the spectra of an hour would take gigabytes
        numbers = np.arange(first, min(first + 4096, rows))
        cut = padded[numbers[:, None] * ROW + np.arange(2 * ROW)]
        power = np.square(np.abs(np.fft.rfft(cut * window, axis=1)))[:, inside].sum(1) * scale
        level[numbers] = 10 * np.log10(power + 1e-12)
    return level
