"""Draws a curve of valence and arousal over the sound that it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import KeySyncError
from ...media.outline import outline
from ...media.source import SoundSource
from ...plot import LEFT, draw_curves
from ...timed import Values
from ...whole import reason, whole_file
from .emotion import CONTROLS

# Values at the upper and the lower edge of the plot, and its height and width.
EDGES, SIZE = (1.2, -1.2), (320, 960)


def draw_emotion(
    values: Values,
    fps: float,
    size: tuple[int, int],
    sound: NDArray[np.float32] | None = None,
    rate: float = 1,
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) of `size` (h, w): `values` (n, 2), `fps` a second, in front of the waveform of `sound`."""
    return draw_curves(dict(zip(CONTROLS, values.T, strict=True)), fps, EDGES, size, sound, rate)


def write_plot(path: Path, values: Values, fps: float, sound: SoundSource) -> None:
    """Writes such a picture as PNG. Raises `KeySyncError` where it cannot be written."""
    seconds, columns = len(values) / fps, SIZE[1] - LEFT
    picture = draw_emotion(values, fps, SIZE, outline(sound, seconds, columns), 2 * columns / seconds)
    try:
        with whole_file(path) as temporary:
            Image.fromarray(picture).save(temporary, "PNG")
    except OSError as error:
        raise KeySyncError(f"cannot write the plot {path}: {'; '.join(reason(error, path))}", about="report") from error
