"""Random timbres: the content of variant files for espeak-ng's voices.

Frequency, level and width of the formants vary, in per cent of those of the language's voice, as do the settings of
espeak-ng's own variants: pitch, tone, roughness, breath, and the type of synthesiser.
"""

from __future__ import annotations

import numpy as np

FORMANTS = 9
KLATT = (1, 2, 4, 5)  # types of the Klatt synthesiser; the third is held out


def draw(rng: np.random.Generator) -> str:
    """A random timbre; the same generator state gives the same timbre."""
    lines = ["language variant", "name keysync", f"gender {rng.choice(['male', 'female'])}"]
    if rng.random() < 0.25:
        lines.append(f"klatt {rng.choice(KLATT)}")
    pitch = np.exp(rng.uniform(np.log(55), np.log(230)))
    lines.append(f"pitch {pitch:.0f} {pitch * rng.uniform(1.1, 1.9):.0f}")
    lines += _formants(rng)
    if rng.random() < 0.4:
        hertz = np.cumsum(rng.uniform(100, 900, 4)).astype(int)
        pairs = zip(hertz.tolist(), rng.integers(20, 256, 4).tolist(), strict=True)
        lines.append("tone " + " ".join(f"{frequency} {loud}" for frequency, loud in pairs))
    for word, share, low, high in (
        ("voicing", 0.6, 30, 160),
        ("flutter", 0.4, 0, 20),
        ("roughness", 0.4, 0, 5),
        ("intonation", 0.3, 1, 5),
    ):
        if rng.random() < share:
            lines.append(f"{word} {rng.integers(low, high)}")
    if rng.random() < 0.5:
        lines.append(f"consonants {rng.integers(50, 140)} {rng.integers(60, 140)}")
    if rng.random() < 0.2:
        lines.append(f"echo {rng.integers(20, 160)} {rng.integers(5, 30)}")
    if rng.random() < 0.2:
        lines.append("breath " + " ".join(map(str, rng.integers(0, 60, 6))))
    if rng.random() < 0.3:
        lines.append("stressAmp " + " ".join(map(str, rng.integers(10, 28, 8))))
    return "\n".join(lines) + "\n"


def _formants(rng: np.random.Generator) -> list[str]:
    throat = rng.uniform(0.85, 1.35)
    loud, wide = rng.uniform(0.7, 1.3), rng.uniform(0.7, 1.6)
    lines = []
    for number in range(FORMANTS):
        frequency = 100 * throat * rng.uniform(0.93, 1.07)
        height = 100 * loud * rng.uniform(0.6, 1.4)
        if number > 3:  # formants of the voice, not of the vowel
            frequency, height = 100 * rng.uniform(0.8, 1.3), 100 * rng.uniform(0.1, 1.3)
        width = 100 * wide * rng.uniform(0.7, 1.3)
        lines.append(f"formant {number} {frequency:.0f} {height:.0f} {width:.0f}")
    return lines
