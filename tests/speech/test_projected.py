"""Projected rows: those of the encoder behind the layer, whatever the length."""

from __future__ import annotations

import pytest
import torch

from keysync.errors import KeySyncError
from keysync.method import SAMPLE_RATE
from keysync.speech.encoders import load_encoder
from keysync.speech.lips import load_lips
from keysync.speech.projected import Projected
from keysync.speech.whisper import WEIGHTS


@pytest.mark.parametrize("seconds", [0.01, 3, 30, 47.23])
def test_rows_are_those_of_the_whole(seconds: float) -> None:
    waveform = 0.1 * torch.randn(round(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    whisper, lips = load_encoder("whisper", WEIGHTS), load_lips()
    features, rows = Projected(whisper, lips.project).encode(waveform), whisper.encode(waveform)
    assert features.encoder == "whisper"
    torch.testing.assert_close(features.rows, lips.project(rows.rows), rtol=1e-4, atol=1e-4)
    times = torch.arange(int(seconds * 24) + 1) / 24  # between the rows
    torch.testing.assert_close(lips.read_projected(features.at(times)), lips.read(rows.at(times)), rtol=1e-4, atol=1e-4)


def test_nothing_to_hear() -> None:
    encoder = Projected(load_encoder("whisper", WEIGHTS), load_lips().project)
    with pytest.raises(KeySyncError, match=r"the speech has shape \(0,\): expected one channel with at least one"):
        encoder.encode(torch.zeros(0))
