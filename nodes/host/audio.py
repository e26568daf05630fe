"""AUDIO as it travels through ComfyUI."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.media.source import check_rate, check_samples

# ComfyUI's AUDIO: "waveform" (batch, channels, n) float -1..1, "sample_rate".
AudioDict = dict[str, Any]
# What messages call it.
NAME = "the audio"


def channels_of(audio: AudioDict | None) -> tuple[Tensor, int]:
    """Samples (channels, n) and sample rate of an AUDIO. Raises `KeySyncError` unless it is one sound."""
    if audio is None:
        raise KeySyncError("no audio: connect the new speech, from Load Audio")
    waveform, rate = audio["waveform"], audio["sample_rate"]
    if waveform.ndim != 3 or len(waveform) != 1:
        raise KeySyncError(
            f"the audio has shape {list(waveform.shape)}, not [1, channels, samples]: use one sound at a time"
        )
    try:
        rate = int(rate)
    except (TypeError, ValueError, OverflowError):
        raise KeySyncError(f"the sample rate of the audio is {rate!r}, not a number: load it with Load Audio") from None
    check_rate(rate, NAME)
    samples = waveform[0].float().cpu()
    check_samples(samples, NAME)
    return samples, rate
