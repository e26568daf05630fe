"""Speech with known articulation: sentences synthesised by espeak-ng, the times of the phonemes, and the mouth.

The times are those of the synthesiser, to the sample. It reports the release of a stop; the closure before it is found
as digital silence and assigned to the stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.media.resample import resample
from keysync.method import SAMPLE_RATE

from ..render.mouth_motion import MouthMotion
from .espeak import Spoken, speak
from .sentences import TRAIN, sentences
from .visemes import PAUSE, STOPS, Phoneme, mouth_motion, symbols

LANGUAGES = ("en", "en-us", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
LONGEST_CLOSURE = 0.12  # seconds
SHORTEST = 0.025  # seconds; only stops are shorter
SHORT_PAUSE, LONGER_PAUSE = (0.15, 0.5), (0.6, 1.6)  # seconds between sentences


@dataclass(frozen=True)
class Voice:
    """A voice: espeak-ng's language and variant, pitch and its range 0..100, words per minute, peak amplitude.

    `timbre`: the content of a variant file, which replaces `variant`.
    """

    language: str = "en-us"
    variant: str = "m3"
    pitch: int = 50
    pitch_range: int = 50
    rate: int = 160
    loudness: float = 0.7
    timbre: str | None = None

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Voice:
        """A random voice; the same generator state gives the same voice."""
        return cls(
            language=str(rng.choice(LANGUAGES)),
            variant=str(rng.choice(VARIANTS)),
            pitch=int(rng.integers(25, 76)),
            pitch_range=int(rng.integers(25, 80)),
            rate=int(rng.integers(130, 196)),
            loudness=float(rng.uniform(0.35, 0.9)),
        )


@dataclass(frozen=True, eq=False)
class Utterance:
    """Sound (n,) float32 in -1..1 at 16 kHz, and its phonemes and pauses in order."""

    text: str
    waveform: NDArray[np.float32]
    phonemes: tuple[Phoneme, ...]

    @property
    def seconds(self) -> float:
        return len(self.waveform) / SAMPLE_RATE

    def mouth(self, times: NDArray[np.float64]) -> MouthMotion:
        """The mouth at `times` (n,) in seconds; the middle of frame k at 25 fps is at (k + 0.5) / 25."""
        return mouth_motion(self.phonemes, times)

    def pauses(self, least: float = 0.0) -> list[tuple[float, float]]:
        """Start and stop of each pause of at least `least` seconds."""
        return [(p.start, p.stop) for p in _merged(self.phonemes) if p.name == PAUSE and p.stop - p.start >= least]

    def cut(self, start: float, stop: float) -> Utterance:
        """The part between two times in seconds, with the text of the whole."""
        first, last = round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE)
        parts = tuple(
            Phoneme(p.name, max(p.start, start) - start, min(p.stop, stop) - start)
            for p in self.phonemes
            if p.stop > start and p.start < stop
        )
        return Utterance(self.text, self.waveform[first:last], parts)


def say(text: str, voice: Voice) -> Utterance:
    """A text in a voice; equal arguments give equal samples. Raises `KeySyncError` without espeak-ng."""
    name = f"{voice.language}+{voice.variant}"
    spoken = speak(text, name, voice.rate, voice.pitch, voice.pitch_range, voice.timbre)
    waveform = resample(torch.from_numpy(spoken.samples)[None], spoken.rate, SAMPLE_RATE)[0].numpy()
    peak = float(np.abs(waveform).max(initial=0.0))
    waveform = waveform * (voice.loudness / peak) if peak else waveform
    return Utterance(text, waveform.astype(np.float32), _phonemes(spoken, len(waveform) / SAMPLE_RATE))


def silence(seconds: float) -> Utterance:
    """Silence of `seconds` seconds."""
    count = round(seconds * SAMPLE_RATE)
    return Utterance("", np.zeros(count, np.float32), (Phoneme(PAUSE, 0.0, count / SAMPLE_RATE),))


def joined(parts: Sequence[Utterance]) -> Utterance:
    """The utterances, concatenated."""
    phonemes: list[Phoneme] = []
    start = 0.0
    for part in parts:
        phonemes += [Phoneme(p.name, p.start + start, p.stop + start) for p in part.phonemes]
        start += part.seconds
    text = " ".join(part.text for part in parts if part.text)
    return Utterance(text, np.concatenate([part.waveform for part in parts]), _merged(phonemes))


def talk(seed: int, seconds: float, split: str = TRAIN, voice: Voice | None = None) -> Utterance:
    """Sentences of a split for exactly `seconds` seconds, with pauses before and between them.

    The seed determines sentences and pauses, and the voice if none is given; splits share no sentence.
    """
    digest = sha256(f"talk {split} {seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    sampled = Voice.sample(rng)
    voice = voice or sampled
    parts = [silence(float(rng.uniform(*SHORT_PAUSE)))]
    texts = sentences(seed, split)
    while sum(part.seconds for part in parts) < seconds:
        pause = LONGER_PAUSE if rng.random() < 0.3 else SHORT_PAUSE
        parts += [say(next(texts), voice), silence(float(rng.uniform(*pause)))]
    return joined(parts).cut(0.0, seconds)


def _phonemes(spoken: Spoken, seconds: float) -> tuple[Phoneme, ...]:
    """The phonemes with times, without gaps: closures belong to their stops, phonemes of zero length get a length."""
    names = [name for name, _ in spoken.phonemes]
    starts = [first / spoken.rate for _, first in spoken.phonemes]
    if not names or starts[0] > 0:
        names, starts = [PAUSE, *names], [0.0, *starts]
    edges = [*starts, seconds]
    for number in range(1, len(names)):
        before = edges[number] - edges[number - 1]
        if names[number] == PAUSE or not symbols(names[number]):
            continue
        if symbols(names[number])[0] in STOPS:
            edges[number] -= min(_silence_before(spoken, edges[number]), before, LONGEST_CLOSURE)
        elif edges[number + 1] - edges[number] < SHORTEST:
            # Its sound is part of the previous phoneme, like an l after a vowel.
            edges[number] -= min(before / 3, 0.09)
    return _merged(Phoneme(*part) for part in zip(names, edges[:-1], edges[1:], strict=True))


def _silence_before(spoken: Spoken, stop: float) -> float:
    """Seconds of digital silence immediately before a time."""
    last = round(stop * spoken.rate)
    first = max(last - round(LONGEST_CLOSURE * spoken.rate), 0)
    heard = np.flatnonzero(np.abs(spoken.samples[first:last]) > 0)
    return (last - first - (heard[-1] + 1 if len(heard) else 0)) / spoken.rate


def _merged(phonemes: Iterable[Phoneme]) -> tuple[Phoneme, ...]:
    """The phonemes with consecutive pauses merged and empty ones removed."""
    merged: list[Phoneme] = []
    for phoneme in phonemes:
        if phoneme.stop <= phoneme.start:
            continue
        if merged and phoneme.name == merged[-1].name == PAUSE:
            merged[-1] = Phoneme(PAUSE, merged[-1].start, phoneme.stop)
        else:
            merged.append(phoneme)
    return tuple(merged)
