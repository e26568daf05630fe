"""Sample rates: a waveform (channels, n) of one rate to any other.

A sinc of six zero crossings under a squared cosine, cut off at 0.99 of the lower Nyquist frequency: the filter that the
method's speech features were trained behind (KeySync reference implementation). Other good resamplers differ from it by
2 % in the waveform and by far more in the features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import KeySyncError

CROSSINGS = 6
ROLLOFF = 0.99
# Output samples computed at once, and input samples of which a long waveform is made.
BLOCK, INPUT = 1 << 15, 1 << 20


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """A waveform (channels, n) float32 at `target_rate`: (channels, ceil(n * target_rate / source_rate)).

    Computed in blocks: apart from input and output, memory does not grow with the length.
    Raises `KeySyncError` for a rate below 1.
    """
    resampler = Resampler(source_rate, target_rate)
    return torch.cat([*map(resampler.add, waveform.split(INPUT, 1)), resampler.finish()], 1)


class Resampler:
    """A waveform that arrives in blocks, at another rate; the blocks do not show in the result, see `resample`."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        if min(source_rate, target_rate) < 1:
            raise KeySyncError(f"cannot resample from {source_rate} to {target_rate} Hz: both rates must be at least 1")
        common = math.gcd(source_rate, target_rate)
        self._source, self._target = source_rate // common, target_rate // common
        self._taps = _taps(self._source, self._target)
        self._reach = 0 if self._source == self._target else self._taps.shape[1] // 2
        self._heard = self._made = 0
        # The last of the input, from its sample `_begins` on: silence lies before the first.
        self._begins = -self._reach
        self._input: Tensor | None = None

    def add(self, block: Tensor) -> Tensor:
        """The samples (channels, m) that follow when a block (channels, n) has arrived."""
        self._heard += block.shape[1]
        return self._follow(block, -(-(self._heard - self._reach) * self._target // self._source))

    def finish(self) -> Tensor:
        """The samples at the end, behind which silence lies. Raises `ValueError` where no block has arrived."""
        if self._input is None:
            raise ValueError("no sound has arrived: add a block first, which may be empty")
        silence = self._input.new_zeros(len(self._input), self._reach)
        return self._follow(silence, -(-self._heard * self._target // self._source))

    def _follow(self, block: Tensor, end: int) -> Tensor:
        """The samples up to the one before `end`, if a block follows the input."""
        if not self._reach:
            self._input = block[:, :0]
            return block
        before = block.new_zeros(len(block), self._reach) if self._input is None else self._input
        joined, taps = torch.cat([before, block], 1), self._taps.to(block)
        made = [joined[:, :0]]
        for start in range(self._made, end, BLOCK):
            outputs = torch.arange(start, min(start + BLOCK, end), device=block.device)
            first = outputs * self._source // self._target - self._reach + 1
            near = joined.unfold(1, 2 * self._reach, 1)[:, first - self._begins]  # c n -> c m taps
            made.append((near * taps[outputs % self._target]).sum(-1))
        self._made = max(self._made, end)
        kept = self._made * self._source // self._target - self._reach + 1
        self._input, self._begins = joined[:, kept - self._begins :].clone(), kept
        return torch.cat(made, 1)


def _taps(source: int, target: int) -> Tensor:
    """Weights (target, 2 * reach) of the input samples around each output phase.

    Row j belongs to the samples from floor(j * source / target) - reach + 1 on.
    """
    base = ROLLOFF * min(source, target)
    reach = math.ceil(CROSSINGS * source / base)
    phase = torch.arange(target)
    sample = phase[:, None] * source // target + torch.arange(1 - reach, reach + 1)
    offset = sample.double() / source - phase.double()[:, None] / target
    t = (offset * base).clamp(-CROSSINGS, CROSSINGS)
    return base / source * torch.sinc(t) * torch.cos(math.pi * t / (2 * CROSSINGS)) ** 2
