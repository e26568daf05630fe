"""Speech that comes in pieces is heard as it would be whole, but for what is not said yet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keysync.demo import SPEECH
from keysync.live.hearing import LiveSpeech
from keysync.media.audio import hear
from keysync.media.source import SoundInMemory
from keysync.speech.encoders import load_encoder
from keysync.speech.features import SpeechFeatures
from keysync.speech.whisper import WEIGHTS

from ..media.test_audio import tones
from .conftest import CheapEars


def heard(pieces: int, rate: int, seconds: float, batch: int = 8) -> torch.Tensor:
    """The rows of all frames, where the sound comes in pieces of so many samples."""
    sound = tones(seconds, rate).astype(np.float32)
    speech, rows, frames = LiveSpeech(CheapEars()), [], int(seconds * 25)
    starts = iter(range(0, sound.shape[1], pieces))
    for first in range(0, frames, batch):
        times = np.arange(first, min(first + batch, frames)) / 25
        while speech.needs(times[-1]) > speech.seconds:
            start = next(starts, None)
            if start is None:
                speech.end()
            else:
                speech.add(sound[:, start : start + pieces], rate)
        rows.append(speech.rows(times))
    return torch.cat(rows)


@pytest.mark.parametrize(("rate", "seconds"), [(16_000, 3.0), (44_100, 3.0), (8000, 47.0)])
def test_pieces_of_any_size_are_heard_alike(rate: int, seconds: float) -> None:
    """Also where the window moves on, in long speech."""
    expected = CheapEars().encode(hear_whole(rate, seconds)).frames
    for pieces in (333, 5000):
        torch.testing.assert_close(heard(pieces, rate, seconds), expected, atol=1e-6, rtol=0)


def hear_whole(rate: int, seconds: float) -> torch.Tensor:
    return hear(SoundInMemory("speech", tones(seconds, rate), rate)).first(int(seconds * 25) * 640)


def test_memory_does_not_grow() -> None:
    speech, most = LiveSpeech(CheapEars()), 0
    for second in range(120):
        speech.add(np.zeros((1, 16_000), np.float32), 16_000)
        speech.rows(np.array([second + 0.5]))
        most = max(most, len(speech._samples))
    assert most <= 31 * 16_000


def test_silence_follows_the_end() -> None:
    speech = LiveSpeech(CheapEars())
    speech.add(np.full((1, 640), 0.5, np.float32), 16_000)
    speech.end()
    rows = speech.rows(np.array([0.0, 0.04, 0.2]))
    assert (rows.abs().amax((1, 2)) > 0).tolist() == [True, False, False]


def test_whisper_hears_with_little_ahead_nearly_what_it_hears_of_the_whole() -> None:
    """Measured on six seconds: RMS of the difference over that of the rows, 8 % with eight frames ahead and 18 %
    without; the bounds leave room for other processors."""
    encoder = load_encoder("whisper", WEIGHTS)
    samples = hear(SPEECH).first(5 * 16_000)
    whole = encoder.encode(samples)
    assert isinstance(whole, SpeechFeatures)

    def apart(ahead: int) -> float:
        speech = LiveSpeech(encoder)
        speech.add(samples[None].numpy(), 16_000)
        errors = []
        for first in (56, 96):
            frames = np.arange(first, first + 8)
            rows = speech.rows(np.arange(first, first + 8 + ahead) / 25)[:8]
            errors.append((rows - whole.frames[frames]).square().mean() / whole.frames[frames].square().mean())
        return float(torch.stack(errors).mean().sqrt())

    assert apart(8) < 0.15
    assert apart(8) < apart(0)
