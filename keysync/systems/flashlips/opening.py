"""Lips vectors drawn by hand: how far the mouth opens at which second, in the manner of a person.

No number of a lips vector says how far the mouth is open. How vectors change with the opening is read from crops of the
person: a straight line through them, from closed to as wide as they show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import KeySyncError
from ...face.mesh import MeshReader, as_bytes
from ...face.mouth import MEASURED, measure
from ...strict_json import quoted
from ...timed import Values, are_rising, between, looks_like_json, read_keys
from .person import SURE
from .spec import want_crops
from .vectors import LipsVectors

if TYPE_CHECKING:
    from .models import FlashLips

# Widest opening, as a multiple of the widest that the crops show: further away the line is a guess.
WIDEST = 1.5
# The least by which the mouth opens in crops, in distances of the outer eye corners: less is jitter of the points.
LEAST = 0.04
KEY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)\s*:\s*(\d(?:\.\d{1,9})?)")
FORM = (
    f"seconds and openings from 0 to {WIDEST:g}, such as 0:0,0.5:1, or CSV or JSON with numbers named seconds and "
    "opening"
)


@dataclass(frozen=True, eq=False)
class Openings:
    """`values` (n,), 0 closed and 1 as wide as crops of the person show, at rising `seconds` (n,).

    Raises `KeySyncError` for other values, and for seconds that do not rise.
    """

    seconds: Values
    values: Values

    def __post_init__(self) -> None:
        if not len(self.values) or not ((self.values >= 0) & (self.values <= WIDEST)).all():
            raise KeySyncError(f"the openings are out of their range: expected {FORM}", about="keys")
        if not are_rising(self.seconds):
            raise KeySyncError("the seconds of the openings do not rise: put the keys in order", about="keys")

    @classmethod
    def of(cls, text: str) -> Openings:
        """Those of a text: `seconds:opening` in a row, CSV, or JSON. Raises `KeySyncError` for anything else."""
        parts = [KEY.fullmatch(part.strip()) for part in text.strip().strip(",").split(",")]
        found = [key for key in parts if key is not None]
        if len(found) == len(parts):
            return cls(*np.array([[float(key[1]), float(key[2])] for key in found]).T)
        try:
            table = read_keys(text, ["opening"], is_json=looks_like_json(text))
        except ValueError as error:
            raise _no_keys(text) from error
        if not len(table):
            raise _no_keys(text)
        return cls(*table.T)

    def at(self, times: NDArray[np.floating[Any]]) -> Values:
        """The openings (n,) at `times` (n,) in seconds; the first and the last are held beyond."""
        return between(times, self.seconds, self.values[:, None])[:, 0]

    def cover(self, times: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Whether each of `times` (n,) lies from the first key to the last."""
        return np.asarray((times >= self.seconds[0]) & (times <= self.seconds[-1]))


def _no_keys(text: str) -> KeySyncError:
    return KeySyncError(f"the keys are {quoted(text)}: expected {FORM}", about="keys")


@dataclass(frozen=True, eq=False)
class OpeningLine:
    """The lips vectors `closed` (w,) and `opened` (w,), as wide as crops of the person show, of the FlashLips
    `model`."""

    closed: NDArray[np.float32]
    opened: NDArray[np.float32]
    model: str

    @classmethod
    def of(cls, models: FlashLips, crops: Tensor) -> OpeningLine:
        """That of the person in crops (n, H, W, 3), 0..1. Raises `KeySyncError` for crops of another size, and for
        those in which the mouth does not open."""
        want_crops(models.spec, crops)
        pictures = as_bytes(crops)
        meshes = MeshReader(models.device).read(pictures)
        openings = measure(meshes.points)[:, MEASURED.index("opening")].astype(np.float64)
        sure = np.flatnonzero(meshes.confidence >= SURE)
        if len(sure) < 2 or np.ptp(openings[sure]) < LEAST:
            raise KeySyncError(
                "the mouth does not open in the crops: expected some of the person with the mouth closed and some with "
                "it open",
                about="opening",
            )
        low, high = openings[sure].min(), openings[sure].max()
        shares = (openings[sure] - low) / (high - low)
        vectors = models.read([*pictures[sure]]).double().numpy()
        line, *_ = np.linalg.lstsq(np.stack((np.ones_like(shares), shares), 1), vectors, rcond=None)
        return cls(line[0].astype(np.float32), (line[0] + line[1]).astype(np.float32), models.key)

    def draw(self, openings: Values, fps: float) -> LipsVectors:
        """Lips vectors of mouths that are open so far (n,), `fps` a second."""
        share = openings[:, None].astype(np.float32)
        return LipsVectors((1 - share) * self.closed + share * self.opened, fps, self.model)

    def read(self, vectors: LipsVectors) -> Values:
        """How far mouths are open by their vectors (n,), as far as the line tells. Raises `KeySyncError` for those of
        another FlashLips file."""
        vectors.want_model(self.model)
        way = self.opened.astype(np.float64) - self.closed
        read: Values = (vectors.values - self.closed) @ way / max(float(way @ way), 1e-12)
        return read


def drawn_over(vectors: LipsVectors, keys: Openings, line: OpeningLine, share: float) -> LipsVectors:
    """Vectors with a `share` of the openings' own in their place, from the first key to the last."""
    times = np.arange(len(vectors.values)) / vectors.fps
    return vectors.blended(line.draw(keys.at(times), vectors.fps), share * keys.cover(times))
