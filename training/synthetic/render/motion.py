"""The motion of a talking person: head, gaze, blinks and brows, and slight changes of light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .camera import PIVOT, Pose
from .feeling import Feeling

Array = NDArray[np.float64]

RATE = 25.0
# Closure of the lids over the frames of a blink.
BLINK = (0.35, 0.95, 1.0, 0.7, 0.3, 0.1)


@dataclass(frozen=True)
class Take:
    """The poses of consecutive frames at 25 fps."""

    poses: tuple[Pose, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator, frames: int, liveliness: float = 1.0) -> Take:
        """Smooth random motion around a resting pose; with liveliness 0 only gaze and blinks move."""
        seconds = np.arange(frames) / RATE
        sway = [_wander(rng, seconds, fastest) * size * liveliness for fastest, size in SWAYS]
        yaw, pitch, roll, x, y, scale, brows = sway
        yaw = yaw + rng.uniform(-0.20, 0.20)
        pitch = pitch + rng.uniform(-0.07, 0.07)
        roll = roll + rng.uniform(-0.05, 0.05)
        gaze = _glances(rng, frames)
        blink = _blinks(rng, frames)
        light = 1 + 0.012 * _wander(rng, seconds, 3.0)
        # The eyes compensate the rotation of the head.
        gaze[:, 0] = np.clip(gaze[:, 0] - 1.1 * yaw, -0.8, 0.8)
        gaze[:, 1] = np.clip(gaze[:, 1] - 1.1 * pitch, -0.6, 0.6)
        rows = zip(yaw, pitch, roll, x, y, scale, brows, gaze, blink, light, strict=True)
        return cls(
            tuple(
                Pose(
                    yaw=float(a),
                    pitch=float(b),
                    roll=float(c),
                    shift=(float(dx), float(dy)),
                    scale=float(1 + s),
                    gaze=(float(g[0]), float(g[1])),
                    blink=float(shut),
                    brows=float(raised),
                    light=float(lit),
                )
                for a, b, c, dx, dy, s, raised, g, shut, lit in rows
            )
        )

    def feeling(self, feelings: Sequence[Feeling]) -> Take:
        """The same motion with a feeling in each frame's face; that of the mouth is `Feeling.mouth`."""
        return Take(tuple(feeling.pose(pose) for pose, feeling in zip(self.poses, feelings, strict=True)))

    def away(self) -> Take:
        """The same motion with the back to the camera."""
        return Take(tuple(replace(pose, away=True) for pose in self.poses))

    def tilted(self, roll: float) -> Take:
        """The same motion with the head tilted further, in radians clockwise; its middle stays where it is."""
        dx, dy = float(PIVOT[1] * np.sin(roll)), float(PIVOT[1] * (np.cos(roll) - 1))
        return Take(
            tuple(
                replace(pose, roll=pose.roll + roll, shift=(pose.shift[0] - dx, pose.shift[1] + dy))
                for pose in self.poses
            )
        )

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[Pose]:
        return iter(self.poses)


# Highest frequency in Hz and amplitude of yaw, pitch, roll (radians), x, y (mm), scale, brows (mm).
SWAYS = ((0.7, 0.13), (0.9, 0.055), (0.5, 0.045), (0.4, 9.0), (0.5, 5.0), (0.2, 0.02), (0.8, 1.3))


def _wander(rng: np.random.Generator, seconds: Array, fastest: float) -> Array:
    """A smooth random curve around 0 of about unit amplitude."""
    rates = fastest * np.array([0.15, 0.4, 0.7, 1.0]) * rng.uniform(0.8, 1.2, 4)
    sizes = np.array([1.0, 0.8, 0.5, 0.3]) * rng.uniform(0.5, 1.3, 4)
    phases = rng.uniform(0, 2 * np.pi, 4)
    waves = np.sin(2 * np.pi * rates[:, None] * seconds + phases[:, None])
    path: Array = (sizes[:, None] * waves).sum(0) / 1.4
    return path


def _glances(rng: np.random.Generator, frames: int) -> Array:
    """The gaze (frames, 2): mostly at the camera, in saccades."""
    gaze = np.zeros((frames, 2))
    frame = 0
    while frame < frames:
        stay = int(rng.integers(12, 60))
        aside = rng.random() < 0.35
        gaze[frame : frame + stay] = rng.normal(0, (0.28, 0.15), 2) if aside else rng.normal(0, (0.05, 0.04), 2)
        frame += stay
    return gaze


def _blinks(rng: np.random.Generator, frames: int) -> Array:
    shut = np.zeros(frames + len(BLINK))
    frame = int(rng.integers(10, 90))
    while frame < frames:
        shut[frame : frame + len(BLINK)] = BLINK
        frame += int(rng.integers(45, 140))
    return shut[:frames]
