"""The identity of a rendered head: its dimensions in millimetres, colours and hair, all drawn from one generator.

Colours are sRGB in 0..1. Lengths are those of adult heads: 63 mm between the pupils, 68 mm from them to the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

# From the lightest skin to the darkest.
SKINS: tuple[Colour, ...] = (
    (0.95, 0.80, 0.71),
    (0.91, 0.73, 0.62),
    (0.84, 0.64, 0.51),
    (0.73, 0.52, 0.39),
    (0.57, 0.38, 0.27),
    (0.42, 0.27, 0.19),
    (0.31, 0.19, 0.14),
)
HAIRS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06),
    (0.13, 0.09, 0.07),
    (0.23, 0.14, 0.09),
    (0.36, 0.23, 0.14),
    (0.50, 0.26, 0.13),
    (0.66, 0.49, 0.29),
    (0.62, 0.60, 0.58),
)
IRISES: tuple[Colour, ...] = (
    (0.22, 0.12, 0.06),
    (0.36, 0.21, 0.10),
    (0.45, 0.37, 0.17),
    (0.36, 0.47, 0.35),
    (0.33, 0.50, 0.63),
    (0.45, 0.53, 0.58),
)
ROUGES: tuple[Colour, ...] = ((0.66, 0.10, 0.16), (0.75, 0.27, 0.33), (0.52, 0.12, 0.25), (0.72, 0.33, 0.24))
CLOTHES: tuple[Colour, ...] = (
    (0.16, 0.20, 0.30),
    (0.55, 0.14, 0.17),
    (0.82, 0.80, 0.76),
    (0.18, 0.38, 0.34),
    (0.22, 0.22, 0.24),
    (0.36, 0.48, 0.66),
    (0.74, 0.56, 0.24),
    (0.48, 0.34, 0.52),
)
STYLES = ("short", "long", "curls", "bald", "swept")


@dataclass(frozen=True)
class Identity:
    """One person. Numbers without a unit are relative to the average, or shares of 1."""

    seed: int  # of the noise in skin and hair
    manly: float  # 0..1: brow ridge, jaw, brows
    skin: Colour
    blush: float
    freckles: float
    wrinkles: float
    face_width: float
    jaw_width: float
    face_length: float
    chin: float
    cheeks: float
    fat: float
    nose_length: float
    nose_width: float
    nose_height: float
    eye_width: float  # half a lid's, mm
    eye_height: float  # from the lower lid to the upper, mm
    eye_tilt: float  # height of the outer corner over the inner, mm
    eye_distance: float  # half the distance, mm
    iris: Colour
    makeup: float
    brow_height: float  # mm above the pupils
    brow_thickness: float  # mm
    brow_arch: float  # mm
    hair: Colour
    style: str
    hairline: float  # mm above the pupils
    volume: float  # mm of hair on the head
    parting: float  # -1..1
    stubble: float
    beard: float
    lip_colour: Colour
    lip_gloss: float
    mouth_width: float  # half, mm
    upper_lip: float  # mm
    lower_lip: float  # mm
    cupid: float  # depth of the bow
    corner: float  # height of the corners over the middle, mm
    gape: float  # largest distance of the inner lips, mm
    teeth: Colour
    tooth_width: float
    tooth_gap: float
    ears: float
    cloth: Colour
    neckline: float  # 0 high .. 1 low
    stripes: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Identity:
        """A random person; the same generator state gives the same person."""
        manly = float(np.clip(rng.beta(0.45, 0.45), 0, 1))
        man = manly > 0.5
        tone = float(rng.uniform(0, len(SKINS) - 1))
        dark = tone / (len(SKINS) - 1)
        skin = _mix(SKINS, tone, rng, 0.018)
        hair = _mix(HAIRS, rng.choice([0, 1, 1.5, 2, 3, 4, 5, 6], p=_shares(dark)), rng, 0.02)
        iris = IRISES[rng.choice(len(IRISES), p=_shares(dark, len(IRISES)))]
        style = str(rng.choice(STYLES, p=(0.46, 0.0, 0.17, 0.09, 0.28) if man else (0.08, 0.56, 0.18, 0.0, 0.18)))
        rouge = not man and rng.random() < 0.55
        natural = _blended(skin, (0.62, 0.20, 0.22) if dark < 0.6 else (0.42, 0.17, 0.18), rng.uniform(0.32, 0.62))
        beard = float(rng.uniform(0.6, 1)) if man and rng.random() < 0.22 else 0.0

        def around(mean: float, spread: float) -> float:
            return float(mean + spread * np.clip(rng.normal(), -2, 2))

        return cls(
            seed=int(rng.integers(2**31)),
            manly=manly,
            skin=skin,
            blush=float(rng.uniform(0.2, 1)),
            freckles=float(rng.uniform(0.3, 1)) if dark < 0.35 and rng.random() < 0.3 else 0.0,
            wrinkles=float(rng.uniform(0, 1) ** 2),
            face_width=around(0.985 + 0.02 * manly, 0.025),
            jaw_width=around(0.98 + 0.10 * manly, 0.035),
            face_length=around(0.985 + 0.025 * manly, 0.02),
            chin=around(0.9 + 0.2 * manly, 0.15),
            cheeks=around(1.1 - 0.2 * manly, 0.25),
            fat=float(rng.beta(1.5, 2.5)),
            nose_length=around(1.0, 0.05),
            nose_width=around(1.02 + 0.06 * manly + 0.2 * dark, 0.07),
            nose_height=around(0.95 + 0.1 * manly - 0.15 * dark, 0.09),
            eye_width=around(15.9 - 0.5 * manly, 0.5),
            eye_height=around(11.4 - 1.2 * manly, 0.8),
            eye_tilt=around(1.6 - 0.8 * manly, 0.8),
            eye_distance=around(31.7, 0.9),
            iris=iris,
            makeup=0.0 if man else float(rng.uniform(0.1, 1)),
            brow_height=around(20.5 - 2.5 * manly, 1.0),
            brow_thickness=around(3.6 + 2.2 * manly, 0.6),
            brow_arch=around(3.6 - 1.6 * manly, 0.8),
            hair=hair,
            style=style,
            hairline=around(66 + 3 * manly, 4.0),
            volume=float(rng.uniform(18, 30) if style == "curls" else rng.uniform(7, 15)),
            parting=float(rng.uniform(-1, 1)),
            stubble=float(rng.uniform(0, 0.8)) if man and not beard else 0.0,
            beard=beard,
            lip_colour=_blended(natural, ROUGES[rng.integers(len(ROUGES))], rng.uniform(0.5, 0.9) * (1 - 0.4 * dark))
            if rouge
            else natural,
            lip_gloss=float(rng.uniform(0.4, 1) if rouge else rng.uniform(0.05, 0.4)),
            mouth_width=around(25.6 + 1.2 * manly, 1.5),
            upper_lip=around(7.4 - 1.6 * manly + 2.0 * dark, 1.0),
            lower_lip=around(9.6 - 1.6 * manly + 2.0 * dark, 1.1),
            cupid=float(rng.uniform(0.05, 0.38)),
            corner=around(0.4, 0.8),
            gape=around(25.0, 1.0),
            teeth=(around(0.94, 0.02), around(0.90, 0.03), around(0.83, 0.05)),
            tooth_width=around(1.0, 0.05),
            tooth_gap=float(rng.uniform(0, 1) ** 3),
            ears=around(1.0, 0.08),
            cloth=CLOTHES[rng.integers(len(CLOTHES))],
            neckline=float(rng.uniform(0, 0.45) if man else rng.uniform(0.1, 0.9)),
            stripes=float(rng.uniform(0.3, 1)) if rng.random() < 0.25 else 0.0,
        )


def _mix(colours: tuple[Colour, ...], place: float, rng: np.random.Generator, spread: float) -> Colour:
    """An interpolated colour with some noise."""
    table = np.array(colours)
    mixed = [np.interp(place, np.arange(len(table)), table[:, channel]) for channel in range(3)]
    r, g, b = np.clip(np.array(mixed) + rng.normal(0, spread, 3) * mixed, 0.01, 1).tolist()
    return (r, g, b)


def _blended(first: Colour, second: Colour, share: float) -> Colour:
    r, g, b = (np.array(first) * (1 - share) + np.array(second) * share).tolist()
    return (r, g, b)


def _shares(dark: float, count: int = 8) -> list[float]:
    """Probabilities of colours; the darker the skin, the more likely the first ones."""
    weights = np.exp(-np.arange(count) * (0.05 + 1.1 * dark))
    shares: list[float] = (weights / weights.sum()).tolist()
    return shares
