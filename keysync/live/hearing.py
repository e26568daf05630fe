"""Speech that goes on: what is said is heard as it comes, in windows like those of long speech."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KeySyncError
from ..media.channels import Block, mean
from ..media.resample import Resampler
from ..media.source import check_rate, check_samples
from ..method import NETWORK_RATE, SAMPLE_RATE
from ..speech.encoder import CONTEXT, WINDOW, followed
from ..speech.features import FRAME
from ..systems.renderer import Given, Hearing

NAME = "the speech"


class LiveSpeech:
    """The rows of an encoder for frames whose speech has come.

    An encoder hears the speech from where a window of long speech would begin (`speech.encoder.windows`), so a row has
    the place in its window that it has in a dub; only what is not said yet is missing. Memory holds one window. Several
    channels are heard as their mean.
    """

    def __init__(self, encoder: Hearing) -> None:
        self._encoder = encoder
        self._resampler: Resampler | None = None
        self._rate = 0
        self._samples, self._begins = torch.zeros(0), 0
        self._ended = False

    @property
    def seconds(self) -> float:
        """How much was heard; infinity where no more will come: then silence follows."""
        return math.inf if self._ended else (self._begins + len(self._samples)) / SAMPLE_RATE

    def add(self, block: Block, rate: int) -> None:
        """Takes the next samples (channels, n), -1..1. Raises `KeySyncError` for a rate that changes or is none, and
        for numbers that are no samples."""
        if self._resampler is None:
            check_rate(rate, NAME)
            self._resampler, self._rate = Resampler(rate, SAMPLE_RATE), rate
        if rate != self._rate:
            raise KeySyncError(
                f"{NAME} has {rate} samples a second after {self._rate}: expected the same rate throughout"
            )
        check_samples(block, NAME)
        self._keep(self._resampler.add(torch.from_numpy(mean(block))[None])[0])

    def end(self) -> None:
        """No more will come."""
        if self._resampler is not None and not self._ended:
            self._keep(self._resampler.finish()[0])
        self._ended = True

    def needs(self, time: float) -> float:
        """Up to which second the speech must have come for a frame at `time` to be heard."""
        return _stop(time) / SAMPLE_RATE

    def rows(self, times: NDArray[np.float64]) -> Tensor:
        """Rows (n, 2, c) for frames at rising `times` (n,) in seconds, for the last of which `needs` has come; they
        rise from call to call."""
        if isinstance(self._encoder, Given):
            return self._encoder.encode(torch.zeros(0)).at(times)
        begin, stop = _begin(float(times[0])), _stop(float(times[-1]))
        self._samples = self._samples[begin - self._begins :] if begin > self._begins else self._samples
        self._begins = max(begin, self._begins)
        heard = self._samples[: stop - self._begins]
        rows = self._encoder.encode(followed(heard, stop - self._begins - len(heard)))
        return rows.at(times - self._begins / SAMPLE_RATE)

    def _keep(self, samples: Tensor) -> None:
        self._samples = torch.cat((self._samples, samples))


def _begin(time: float) -> int:
    """The sample with which the window begins in which a frame at `time` is heard."""
    step = WINDOW - 2 * CONTEXT
    return max(0, int(time * SAMPLE_RATE) // step * step - CONTEXT)


def _stop(time: float) -> int:
    """The sample behind those of a frame at `time`."""
    return math.ceil(round(time * NETWORK_RATE, 6) + 1) * FRAME
