"""The mouth shapes of phonemes, and coarticulation.

Each phoneme has a target shape with a dominance that is greatest in its middle and falls off on both sides; the shape
at a time is the mean of the targets weighted by dominance, after Cohen and Massaro (1993). Closures of the lips
override their neighbours, as do pauses.
"""

# ruff: noqa: RUF001 - phonemes are written in IPA
from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..render.mouth_motion import MouthMotion

Array = NDArray[np.float64]

PAUSE = ""  # the name of a pause


@dataclass(frozen=True)
class Phoneme:
    """A sound by its IPA name, from `start` to `stop` in seconds; "" is a pause."""

    name: str
    start: float
    stop: float


@dataclass(frozen=True)
class Viseme:
    """The target shape (open, wide, round, teeth, tongue) of a phoneme, and its strength for jaw and lips.

    `closed`: its opening is an upper limit during the phoneme.
    """

    shape: tuple[float, float, float, float, float]
    jaw: float = 1.0
    lips: float = 1.0
    closed: bool = False


REST = Viseme((0.0, 0.0, 0.0, 0.3, 0.0), 1.0, 0.6)
LIPS_MET = Viseme((0.0, 0.0, 0.0, 0.2, 0.0), 2.0, 0.25, True)
LIP_ON_TEETH = Viseme((0.06, 0.15, 0.0, 0.85, 0.0), 2.0, 0.5, True)
TONGUE_BETWEEN = Viseme((0.28, 0.20, 0.0, 0.55, 0.9), 0.9, 0.35)
TONGUE_UP = Viseme((0.24, 0.20, 0.0, 0.60, 0.6), 0.7, 0.25)
LATERAL = Viseme((0.40, 0.15, 0.0, 0.50, 0.95), 0.6, 0.25)
HISS = Viseme((0.14, 0.35, 0.0, 0.95, 0.25), 1.3, 0.45)
HUSH = Viseme((0.18, 0.0, 0.65, 0.90, 0.1), 1.2, 1.0)
BACK = Viseme((0.40, 0.15, 0.0, 0.35, 0.0), 0.5, 0.2)
BREATH = Viseme((0.55, 0.15, 0.0, 0.35, 0.0), 0.25, 0.1)
BENT = Viseme((0.36, 0.0, 0.55, 0.35, 0.25), 0.7, 0.8)
GLIDE_ROUND = Viseme((0.14, 0.0, 1.0, 0.10, 0.0), 1.4, 1.4)
GLIDE_WIDE = Viseme((0.32, 0.75, 0.0, 0.55, 0.0), 0.9, 0.9)

CONSONANTS = {
    **dict.fromkeys("pbmɱ", LIPS_MET),
    **dict.fromkeys("fvʋ", LIP_ON_TEETH),
    **dict.fromkeys("θð", TONGUE_BETWEEN),
    **dict.fromkeys("tdnɾʈɖɳɲr", TONGUE_UP),
    **dict.fromkeys("lɫɬʎ", LATERAL),
    **dict.fromkeys("sz", HISS),
    **dict.fromkeys("ʃʒɕʑ", HUSH),
    **dict.fromkeys("kɡgŋxɣcçqχʁ", BACK),
    **dict.fromkeys("hɦʔ", BREATH),
    **dict.fromkeys("ɹɻɽ", BENT),
    **dict.fromkeys("wʍɥ", GLIDE_ROUND),
    **dict.fromkeys("jʲ", GLIDE_WIDE),
}
STOPS = frozenset("pbtdkɡgcqʔʈɖ")  # they block the air flow
VOWEL = 1.8  # the jaw follows vowels more than consonants
VOWELS = {
    **dict.fromkeys("ɑ", Viseme((1.00, 0.10, 0.0, 0.25, 0.0), VOWEL)),
    **dict.fromkeys("a", Viseme((1.00, 0.30, 0.0, 0.35, 0.0), VOWEL)),
    **dict.fromkeys("æ", Viseme((0.97, 0.50, 0.0, 0.45, 0.0), VOWEL)),
    **dict.fromkeys("ʌɐ", Viseme((0.88, 0.15, 0.0, 0.35, 0.0), VOWEL)),
    **dict.fromkeys("ə", Viseme((0.70, 0.12, 0.05, 0.35, 0.0), 0.8 * VOWEL, 0.5)),
    **dict.fromkeys("ɛ", Viseme((0.85, 0.50, 0.0, 0.50, 0.0), VOWEL)),
    **dict.fromkeys("e", Viseme((0.75, 0.65, 0.0, 0.55, 0.0), VOWEL)),
    **dict.fromkeys("ɪᵻɨ", Viseme((0.66, 0.55, 0.0, 0.50, 0.0), VOWEL)),
    **dict.fromkeys("iy", Viseme((0.54, 0.95, 0.0, 0.60, 0.0), VOWEL)),
    **dict.fromkeys("ɜɝɚ", Viseme((0.68, 0.0, 0.35, 0.35, 0.0), VOWEL)),
    **dict.fromkeys("ɔ", Viseme((0.90, 0.0, 0.50, 0.20, 0.0), VOWEL)),
    **dict.fromkeys("ɒ", Viseme((0.95, 0.0, 0.35, 0.20, 0.0), VOWEL)),
    **dict.fromkeys("oɵ", Viseme((0.72, 0.0, 0.80, 0.15, 0.0), VOWEL)),
    **dict.fromkeys("ʊ", Viseme((0.55, 0.0, 0.75, 0.15, 0.0), VOWEL)),
    **dict.fromkeys("uʉɯ", Viseme((0.42, 0.0, 1.0, 0.10, 0.0), VOWEL, 1.2)),
}
VISEMES: dict[str, Viseme] = {**CONSONANTS, **VOWELS}

# Seconds over which dominance falls off before and after a phoneme: lip rounding precedes the motion of the jaw.
JAW_BEFORE, JAW_AFTER = 0.055, 0.050
LIPS_BEFORE, LIPS_AFTER = 0.110, 0.060
PLATEAU = 0.3  # share of a phoneme's length with full dominance
LEAST_CLOSED = 0.045  # so that each closure contains a frame at 25 fps
CLOSING, OPENING = 0.060, 0.070
LONG_PAUSE = 0.20  # in a longer pause the mouth closes
PAUSE_CLOSING, PAUSE_OPENING = 0.12, 0.10


def symbols(name: str) -> list[str]:
    """The sounds in a phoneme's name, such as t and ʃ in tʃ, without marks of length and stress and accents."""
    plain = unicodedata.normalize("NFD", name)
    return [symbol for symbol in plain if symbol in VISEMES]


def mouth_motion(phonemes: Sequence[Phoneme], times: Array) -> MouthMotion:
    """The mouth at `times` (n,) in seconds for phonemes sorted by start; at rest outside of them."""
    moments = np.asarray(times, dtype=np.float64)
    pulls = list(_pulls(phonemes))
    start = np.array([begin for _, begin, _ in pulls])
    stop = np.array([end for _, _, end in pulls])
    shapes = np.array([viseme.shape for viseme, _, _ in pulls])
    middle, half = (start + stop) / 2, PLATEAU * (stop - start) / 2
    away = moments[:, None] - middle
    away = np.sign(away) * np.maximum(np.abs(away) - half, 0)
    # Long phonemes have more dominance than short ones.
    length = np.clip((stop - start) / 0.08, 0.5, 1.5)
    inner = _force(away, JAW_BEFORE, JAW_AFTER, half) * length  # of teeth and tongue
    jaw = inner * [viseme.jaw for viseme, _, _ in pulls]
    lips = _force(away, LIPS_BEFORE, LIPS_AFTER, half) * length * [viseme.lips for viseme, _, _ in pulls]
    table = np.concatenate([_mean(jaw, shapes[:, :1]), _mean(lips, shapes[:, 1:3]), _mean(inner, shapes[:, 3:])], 1)
    for limit, begin, end, before, after in _closures(phonemes):
        free = _step((begin - moments) / before) + _step((moments - end) / after)
        most = limit + np.maximum(table[:, 0] - limit, 0) * np.minimum(free, 1)
        table[:, 0] = np.minimum(table[:, 0], most)
    return MouthMotion.of(table)


def _pulls(phonemes: Sequence[Phoneme]) -> Iterator[tuple[Viseme, float, float]]:
    """Visemes with start and stop: phonemes of several sounds are split, rest is added before and after."""
    yield REST, _first(phonemes) - 10.0, _first(phonemes)
    for phoneme in phonemes:
        sounds = [VISEMES[symbol] for symbol in symbols(phoneme.name)] or [
            REST if phoneme.name == PAUSE else VISEMES["ə"]
        ]
        edges = np.linspace(phoneme.start, phoneme.stop, len(sounds) + 1).tolist()
        for sound, begin, end in zip(sounds, edges[:-1], edges[1:], strict=True):
            if sound is not REST or end - begin > LONG_PAUSE:
                yield sound, begin, end
    yield REST, _last(phonemes), _last(phonemes) + 10.0


def _closures(phonemes: Sequence[Phoneme]) -> Iterator[tuple[float, float, float, float, float]]:
    """The largest opening from a start to a stop, and the seconds of the transitions to it and from it."""
    for viseme, start, stop in _pulls(phonemes):
        if viseme is REST:
            yield 0.0, start + PAUSE_CLOSING, stop - PAUSE_OPENING, PAUSE_CLOSING, PAUSE_OPENING
        elif viseme.closed:
            # The end of such a sound is its release.
            end = max(start + 0.7 * (stop - start), start + LEAST_CLOSED)
            yield viseme.shape[0], start, end, CLOSING, OPENING


def _force(away: Array, before: float, after: float, half: Array) -> Array:
    """The dominance at a time `away` from the plateau, negative before it; long phonemes reach further."""
    reach = np.where(away < 0, before, after) + 0.5 * np.minimum(half, 0.05)
    # Never zero, so that far from all phonemes the nearest dominates.
    force: Array = np.exp(-np.minimum((away / reach) ** 2, 300.0))
    return force


def _mean(force: Array, shapes: Array) -> Array:
    mean: Array = force @ shapes / force.sum(1, keepdims=True)
    return mean


def _step(x: Array) -> Array:
    t = np.clip(x, 0, 1)
    smooth: Array = t * t * (3 - 2 * t)
    return smooth


def _first(phonemes: Sequence[Phoneme]) -> float:
    """The start of the first sound; the mouth is closed before it, even in a short silence."""
    return next((phoneme.start for phoneme in phonemes if phoneme.name != PAUSE), 0.0)


def _last(phonemes: Sequence[Phoneme]) -> float:
    return next((phoneme.stop for phoneme in reversed(phonemes) if phoneme.name != PAUSE), 0.0)
