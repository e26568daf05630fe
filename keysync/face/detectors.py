"""The detectors by name, and landmarks files: both provide the 68 points of each frame (see `face`).

mediapipe is built in; face-alignment is the method's own detector and needs its package and weights.
"""

from __future__ import annotations

from pathlib import Path

from ..choice import Choice
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


# Each takes `device` and `weights`, a folder or None, as `make_detector` does, and may ignore them.
DETECTORS: dict[str, Choice[..., Detector]] = {
    "mediapipe": Choice(FaceFinder, "built in, needs no package and no download", "内置,无需软件包,无需下载"),
    "face-alignment": Choice(
        FaceAlignmentDetector,
        "the method's own detector, needs the face-alignment package and its two weight files",
        "方法本身所用的检测器,需要 face-alignment 软件包及其两个权重文件",
    ),
}


def make_detector(name: str, weights: str | Path | None = None, *, device: str = "cpu") -> Detector:
    """The detector of that name. Raises `KeySyncError` for an unknown name, a missing package or missing weights."""
    if name not in DETECTORS:
        raise KeySyncError(f"unknown detector {name!r}: choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name](device=device, weights=weights)
