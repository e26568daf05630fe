"""The detectors by name, and landmarks files: both provide the 68 points of each frame (see `face`).

mediapipe is built in; face-alignment is the method's own detector and needs its package and weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..errors import KeySyncError
from .face import POINTS, Detector, Face
from .face_alignment import FaceAlignmentDetector
from .finder.finder import FaceFinder
from .landmarks_file import LandmarksFile, read_landmarks_file, write_landmarks_file

__all__ = [
    "DETECTORS",
    "POINTS",
    "Detector",
    "Face",
    "LandmarksFile",
    "make_detector",
    "read_landmarks_file",
    "write_landmarks_file",
]


class DetectorFactory(Protocol):
    """Makes a detector; one that has no use for a device or a folder of weights leaves them alone."""

    def __call__(self, *, device: str = "cpu", weights: str | Path | None = None) -> Detector: ...


DETECTORS: dict[str, DetectorFactory] = {"mediapipe": FaceFinder, "face-alignment": FaceAlignmentDetector}


def make_detector(name: str, weights: str | Path | None = None, *, device: str = "cpu") -> Detector:
    """The detector of that name. Raises `KeySyncError` for an unknown name, a missing package or missing weights."""
    if name not in DETECTORS:
        raise KeySyncError(f"unknown detector {name!r}: choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name](device=device, weights=weights)
