"""Training batches of the speech encoder: speech recorded by a simulated microphone, the mouth and phoneme per row.

Row r of HuBERT sees 400 samples from 320 r. Its target is the mouth at (r + 1/2) / 50 s, so that the two rows of a
frame at 25 fps are centred on the middle of that frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.method import ROWS_PER_SECOND, SAMPLE_RATE
from keysync.speech.features import FRAME

from ...synthetic.render.mouth_motion import MouthMotion
from ...synthetic.voice.corpus import Corpus
from ...synthetic.voice.microphone import Microphone, Sound, fast_length
from ...synthetic.voice.speech import Utterance, joined, silence
from ...synthetic.voice.visemes import PAUSE, VISEMES, Phoneme, symbols

SOUNDS = (PAUSE, *VISEMES)
MOUTH = tuple(field.name for field in fields(MouthMotion))
SECONDS = 24  # of speech in a lesson
LENGTHS = (2, 3, 4, 6, 8, 12, 24)  # lengths of its examples in seconds
LEAD = 0.5  # seconds before an example, whose echo reaches into it
PACE = 1.15  # largest factor of the tempo


@dataclass(frozen=True, eq=False)
class Lesson:
    """Waveforms (b, n), normalised as for HuBERT, mouths (b, r, 5) in 0..1, sounds (b, r) as indices into `SOUNDS`."""

    waveforms: Tensor
    mouths: Tensor
    sounds: Tensor


def lesson(corpus: Corpus, seed: int, number: int, seconds: int = SECONDS) -> Lesson:
    """Lesson `number`: `seconds` of speech in examples of equal length; a function of its arguments."""
    rng = np.random.default_rng((seed, number))
    length = int(rng.choice([length for length in LENGTHS if length <= seconds]))
    return stacked([example(corpus, rng, length) for _ in range(max(seconds // length, 1))])


def stacked(examples: Sequence[tuple[Sound, Utterance, NDArray[np.float64]]]) -> Lesson:
    """A lesson of examples of one length: sound, utterance, and the times of its rows in the utterance."""
    waveforms = [normalised(torch.from_numpy(sound)) for sound, _, _ in examples]
    motions = [said.mouth(times) for _, said, times in examples]
    mouths = [np.stack([getattr(motion, name) for name in MOUTH], 1) for motion in motions]
    sounds = [sounds_at(said.phonemes, times) for _, said, times in examples]
    return Lesson(torch.stack(waveforms), torch.from_numpy(np.stack(mouths)), torch.from_numpy(np.stack(sounds)).long())


def normalised(waveform: Tensor) -> Tensor:
    """Normalises a waveform as `keysync.speech.hubert.Hubert` does."""
    variance, mean = torch.var_mean(waveform)
    return (waveform - mean) / (variance + 1e-7).sqrt()


def row_times(samples: int) -> NDArray[np.float64]:
    """The times in seconds of the rows of `samples` samples, a multiple of a frame; the last row does not exist."""
    return (np.arange(2 * (samples // FRAME) - 1) + 0.5) / ROWS_PER_SECOND


def sounds_at(phonemes: Sequence[Phoneme], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """The sounds at `times` (n,) as indices into `SOUNDS`; a pause outside of all phonemes."""
    edges, names = [-np.inf], [0]
    for phoneme in phonemes:
        parts = [SOUNDS.index(symbol) for symbol in symbols(phoneme.name)] or [
            SOUNDS.index(PAUSE if phoneme.name == PAUSE else "ə")
        ]
        edges += np.linspace(phoneme.start, phoneme.stop, len(parts), endpoint=False).tolist()
        names += parts
    edges.append(phonemes[-1].stop if phonemes else 0.0)
    names.append(0)
    found: NDArray[np.int64] = np.array(names)[np.searchsorted(edges, times, side="right") - 1]
    return found


def example(corpus: Corpus, rng: np.random.Generator, seconds: int) -> tuple[Sound, Utterance, NDArray[np.float64]]:
    """Speech of a corpus through a random microphone: the sound, the utterance, and the times of its rows in it."""
    sound, said, times = excerpt(corpus, rng, seconds)
    return recorded(corpus, rng, sound, seconds), said, times


def excerpt(corpus: Corpus, rng: np.random.Generator, seconds: int) -> tuple[Sound, Utterance, NDArray[np.float64]]:
    """Speech of a corpus as `recorded` takes it, `LEAD` longer and of another tempo; the utterance, and the times of
    the rows of the recording in it."""
    length = seconds * SAMPLE_RATE
    lead = round(LEAD * SAMPLE_RATE)
    played = fast_length((length + lead) * np.exp(rng.uniform(-1, 1) * np.log(PACE)))
    pace = played / (length + lead)
    said = _talk(corpus, rng, played / SAMPLE_RATE + 3.0)
    # Half of the examples begin with the silence before the speech.
    first = 0 if rng.random() < 0.5 else int(rng.integers(0, 3 * SAMPLE_RATE))
    return said.waveform[first : first + played], said, first / SAMPLE_RATE + (row_times(length) + LEAD) * pace


def recorded(corpus: Corpus, rng: np.random.Generator, sound: Sound, seconds: int) -> Sound:
    """An excerpt through a random microphone, among voices of the corpus."""
    if rng.random() < 0.5:
        sound = sound * _drift(rng, len(sound))

    def voices(count: int) -> Sound:
        start = int(rng.integers(max(len(corpus.sound) - count, 1)))
        return np.resize(corpus.sound[start : start + count], count).astype(np.float32)

    return in_tempo(Microphone.sample(rng), sound, seconds, voices)


def in_tempo(microphone: Microphone, sound: Sound, seconds: int, voices: Callable[[int], Sound] | None = None) -> Sound:
    """An excerpt through a microphone, in the tempo of its recording and without its lead."""
    lead = round(LEAD * SAMPLE_RATE)
    return microphone.hear(sound, seconds * SAMPLE_RATE + lead, voices)[lead:]


def _talk(corpus: Corpus, rng: np.random.Generator, seconds: float) -> Utterance:
    """Sentences with pauses of random length, mostly by one voice, sometimes by several; rarely silence."""
    if rng.random() < 0.03:
        return silence(seconds)
    several = rng.random() < 0.15
    known = range(len(corpus)) if several else corpus.of_voice(int(rng.integers(len(corpus))))
    parts = [silence(LEAD * PACE + (float(rng.uniform(0, 1.5)) if rng.random() < 0.5 else 0.0))]
    while sum(part.seconds for part in parts) < seconds:
        low, high = ((0.05, 0.5), (0.5, 2.0), (2.0, 6.0))[int(rng.choice(3, p=(0.6, 0.3, 0.1)))]
        parts += [corpus.utterance(int(rng.choice(known))), silence(float(rng.uniform(low, high)))]
    return joined(parts)


def _drift(rng: np.random.Generator, length: int) -> Sound:
    """A gain (length,) that varies by about 5 dB from second to second."""
    knots = rng.normal(0, 5, length // SAMPLE_RATE + 2)
    curve = np.interp(np.arange(length) / SAMPLE_RATE, np.arange(len(knots)), knots)
    factor: Sound = (10 ** (curve / 20)).astype(np.float32)
    return factor
