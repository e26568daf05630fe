from __future__ import annotations

import numpy as np
import torch

from keysync.demo import SPEECH
from keysync.media.audio import read_speech
from keysync.method import SAMPLE_RATE
from keysync.speech.encoders import load_encoder
from keysync.speech.heard_lips import heard_lips
from keysync.speech.lips import load_lips
from keysync.speech.whisper import WEIGHTS


def test_the_lips_are_those_that_a_dub_reads() -> None:
    samples = read_speech(SPEECH)[0][: 2 * SAMPLE_RATE]
    curve = heard_lips(samples, 2.0)
    rows = load_encoder("whisper", WEIGHTS).encode(samples)
    assert curve.fps == 25
    assert np.array_equal(curve.values, load_lips().read(rows.frames).numpy())


def test_a_part_of_a_frame_is_a_frame() -> None:
    assert len(heard_lips(torch.zeros(100), 100 / SAMPLE_RATE).values) == 1
    assert len(heard_lips(torch.zeros(700), 700 / SAMPLE_RATE).values) == 2
