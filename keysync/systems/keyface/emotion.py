"""Emotion as two numbers: valence, from unpleasant to pleasant, and arousal, from calm to excited, each -1..1.

An emotion that changes is a curve of both over time, made of named states or of keys of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import KeySyncError
from ...strict_json import MOST_CHARACTERS, quoted
from ...timed import Values, are_rising, between, read_keys

CONTROLS = ("valence", "arousal")
# Valence and arousal of each named state, as KeyFace defines them.
EMOTIONS: Mapping[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happy": (0.85, 0.75),
    "angry": (-0.443, 0.908),
    "surprised": (0.0, 0.85),
    "sad": (-0.85, -0.35),
    "fear": (0.181, 0.949),
    "disgusted": (-0.8, 0.5),
    "contempt": (0.307, 0.535),
    "calm": (0.65, -0.5),
    "excited": (0.9, 0.9),
    "bored": (-0.6, -0.9),
    "confused": (-0.3, 0.4),
    "anxious": (-0.85, 0.9),
    "confident": (0.7, 0.4),
    "frustrated": (-0.8, 0.6),
    "amused": (0.7, 0.5),
    "proud": (0.8, 0.4),
    "ashamed": (-0.8, -0.3),
    "grateful": (0.7, 0.2),
    "jealous": (-0.7, 0.5),
    "hopeful": (0.7, 0.3),
    "disappointed": (-0.7, -0.3),
    "curious": (0.5, 0.5),
    "overwhelmed": (-0.6, 0.8),
}
# How much stronger an accentuated emotion is.
ACCENT = 1.5
# A key in a text: seconds, then a state.
KEY = re.compile(r"(?:(\d{1,6}(?:\.\d{1,9})?)\s*:)?\s*([a-z]+)")


@dataclass(frozen=True, eq=False)
class Emotion:
    """A curve: `values` (n, 2), valence and arousal, at rising `seconds` (n,); where these are None, states that are
    spread evenly over however many frames there are.

    Raises `KeySyncError` for values outside -1..1 and for seconds that do not rise.
    """

    values: Values
    seconds: Values | None = None

    def __post_init__(self) -> None:
        if not len(self.values) or not (np.abs(self.values) <= 1).all():  # also not a number
            bad = self.values[~(np.abs(self.values) <= 1)]
            raise KeySyncError(
                f"the emotion curve {f'has the value {bad[0]:g}' if len(bad) else 'is empty'}: expected one or more "
                "pairs of valence and arousal from -1 to 1",
                about="emotion",
            )
        if self.seconds is not None and not are_rising(self.seconds):
            raise KeySyncError("the seconds of the emotion curve do not rise: put its keys in order", about="emotion")

    @classmethod
    def of(cls, text: str) -> Emotion:
        """The curve of a text: a state, states in a row ("sad,happy"), or states at seconds ("0:neutral,2.5:happy").

        Raises `KeySyncError` for anything else.
        """
        found = [KEY.fullmatch(part.strip().lower()) for part in text.split(",")]
        keys = [(key[1], key[2]) for key in found if key]
        timed = [float(seconds) for seconds, _ in keys if seconds]
        if len(keys) != len(found) or len(timed) not in (0, len(keys)):
            raise KeySyncError(
                f"the emotion is {quoted(text)}: expected states, such as happy, or states at seconds, such as "
                "0:neutral,2.5:happy",
                about="emotion",
            )
        unknown = next((name for _, name in keys if name not in EMOTIONS), None)
        if unknown:
            raise KeySyncError(
                f"unknown emotion {quoted(unknown)}: choose one of {', '.join(EMOTIONS)}", about="emotion"
            )
        return cls(np.array([EMOTIONS[name] for _, name in keys]), np.array(timed) if timed else None)

    @classmethod
    def read(cls, path: str | Path) -> Emotion:
        """The curve in a file: CSV with the columns seconds, valence and arousal, or JSON, a list of such objects.

        Raises `KeySyncError` for a file that cannot be read, is in another form or has no curve.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                text = file.read(MOST_CHARACTERS + 1).decode("utf-8-sig")
        except OSError as error:
            raise KeySyncError(f"{path} cannot be read: {error.strerror}", about="emotion_curve") from error
        except ValueError as error:
            raise _no_curve(str(path)) from error
        return cls.parse(text, str(path), is_json=path.suffix.lower() == ".json")

    @classmethod
    def parse(cls, text: str, name: str, *, is_json: bool) -> Emotion:
        """The curve in the text of such a file, which messages call by `name`.

        Raises `KeySyncError` for text in another form, or without a curve.
        """
        try:
            table = read_keys(text, CONTROLS, is_json=is_json)
        except ValueError as error:
            raise _no_curve(name) from error
        try:
            return cls(table[:, 1:], table[:, 0])
        except KeySyncError as error:
            error.about = "emotion_curve"
            raise

    def accentuated(self) -> Emotion:
        """Every value `ACCENT` times as strong, -1 to 1 at most."""
        return replace(self, values=np.clip(ACCENT * self.values, -1, 1))

    def at(self, times: NDArray[np.floating[Any]]) -> Values:
        """The values (n, 2) at `times` (n,) in seconds: interpolated linearly, the first and the last held beyond.

        States without seconds are spread over these n frames; see `spread`.
        """
        if self.seconds is None:
            return spread(self.values, len(times))
        return between(times, self.seconds, self.values)

    @property
    def controls(self) -> dict[str, Callable[[NDArray[np.float64]], Values]]:
        """A curve for each control, as `Settings.controls` takes them."""

        def column(number: int) -> Callable[[NDArray[np.float64]], Values]:
            return lambda times: self.at(times)[:, number]

        return {name: column(number) for number, name in enumerate(CONTROLS)}


def spread(states: Values, frames: int) -> Values:
    """States (n, 2) over frames (frames, 2): n - 1 equally long stretches from one to the next, both included.

    What the stretches leave over holds the last value, as KeyFace's own curve does before it ends.
    """
    if len(states) == 1:
        return np.repeat(states, frames, axis=0)
    length = max(1, frames // (len(states) - 1))
    stretches = [np.linspace(one, other, length) for one, other in pairwise(states)]
    curve = np.concatenate(stretches)[:frames]
    return np.concatenate((curve, np.repeat(curve[-1:], frames - len(curve), axis=0)))


def _no_curve(name: str) -> KeySyncError:
    return KeySyncError(
        f"{name} is not an emotion curve: expected CSV or JSON with numbers named seconds, valence and arousal",
        about="emotion_curve",
    )
