"""Sample rates: a waveform (channels, n) of one rate to any other.

A sinc of six zero crossings under a squared cosine, cut off at 0.99 of the lower Nyquist frequency: the filter that the
method's speech features were trained behind (KeySync reference implementation). Other good resamplers differ from it by
2 % in the waveform and by far more in the features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import KeySyncError

CROSSINGS = 6
ROLLOFF = 0.99
# Output samples computed at once.
BLOCK = 1 << 15


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """A waveform (channels, n) float32 at `target_rate`: (channels, ceil(n * target_rate / source_rate)).

    Computed in blocks: apart from input and output, memory does not grow with the length.
    Raises `KeySyncError` for a rate below 1.
    """
    if min(source_rate, target_rate) < 1:
        raise KeySyncError(f"cannot resample from {source_rate} to {target_rate} Hz: both rates must be at least 1")
    if source_rate == target_rate:
        return waveform
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    taps = _taps(source, target).to(waveform)
    reach = taps.shape[1] // 2
    length = -(-target * waveform.shape[-1] // source)
    blocks = [waveform[:, :0]]
    for start in range(0, length, BLOCK):
        outputs = torch.arange(start, min(start + BLOCK, length), device=waveform.device)
        phase = outputs % target
        first = outputs * source // target - reach + 1
        lowest, beyond = int(first[0]), int(first[-1]) + 2 * reach
        heard = waveform[:, max(lowest, 0) : beyond]
        heard = F.pad(heard, (max(-lowest, 0), beyond - max(lowest, 0) - heard.shape[-1]))
        near = heard.unfold(1, 2 * reach, 1)[:, first - lowest]  # c n -> c m taps
        blocks.append((near * taps[phase]).sum(-1))
    return torch.cat(blocks, 1)


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
