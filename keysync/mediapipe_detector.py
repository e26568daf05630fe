"""The detector mediapipe: Google's models, which its wheel carries, so nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import KeySyncError
from .face import Face, Frame, overlap
from .mediapipe_points import MESH_TO_68


class MediaPipeDetector:
    """MediaPipe's full-range face detection, then its face mesh on the crop around each detection.

    The mesh alone looks for faces with a short-range model and misses small and turned ones; on a crop it finds them.
    It runs on the CPU with the models of its wheel.
    """

    # How much larger than the detection the crop is: the mesh takes the first that shows it a face.
    CROPS = (1.6, 2.2, 1.2, 3.0)

    def __init__(self, *, device: str = "cpu", weights: str | Path | None = None) -> None:
        solutions = _import_mediapipe()
        with _silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._detection = solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.1
            )
            # The graphs start in threads of their own; a first frame waits for them.
            for graph in (self._detection, self._mesh):
                graph.process(np.zeros((64, 64, 3), dtype=np.uint8))
        self._found_one = False

    def detect(self, frame: Frame) -> list[Face]:
        # The models report their start on standard error at the first frames, never afterwards.
        silence = contextlib.nullcontext() if self._found_one else _silent_stderr()
        with silence, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            faces = [face for detection in self._detections(frame) if (face := self._fit(frame, *detection))]
        self._found_one |= bool(faces)
        return _without_doubles(faces)

    def close(self) -> None:
        self._detection.close()
        self._mesh.close()

    def _detections(self, frame: Frame) -> list[tuple[float, float, float, float]]:
        """Centre x, centre y, side in pixels and confidence of each detection."""
        h, w = frame.shape[:2]
        found = []
        for detection in self._detection.process(np.ascontiguousarray(frame)).detections or []:
            box = detection.location_data.relative_bounding_box
            x, y = (box.xmin + box.width / 2) * w, (box.ymin + box.height / 2) * h
            found.append((x, y, max(box.width * w, box.height * h), float(detection.score[0])))
        return found

    def _fit(self, frame: Frame, x: float, y: float, side: float, confidence: float) -> Face | None:
        """The mesh's face inside a detection, or None where the mesh sees none there or another one."""
        for factor in self.CROPS:
            left, top, width = round(x - factor * side / 2), round(y - factor * side / 2), max(round(factor * side), 8)
            found = self._mesh.process(_square(frame, left, top, width)).multi_face_landmarks
            if not found:
                continue
            mesh = np.array([(point.x, point.y) for point in found[0].landmark]) * float(width) + (left, top)
            face = Face.of(mesh[list(MESH_TO_68)], confidence)
            x0, y0, x1, y1 = face.box
            distance = np.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y)
            if distance < side / 2 and 0.5 * side < max(x1 - x0, y1 - y0) < 2 * side:
                return face
        return None


def _import_mediapipe() -> Any:
    try:
        with _silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mediapipe
    except ModuleNotFoundError as error:
        raise KeySyncError(
            f'the detector mediapipe needs the package {error.name}: pip install "keysync[mediapipe]"'
        ) from error
    except ImportError as error:
        raise KeySyncError(
            f"mediapipe is installed but does not load ({error}): on Debian and Ubuntu, apt install libgl1 libglib2.0-0"
        ) from error
    if not hasattr(mediapipe, "solutions"):
        raise KeySyncError(
            f'mediapipe {mediapipe.__version__} brings no models, 0.10.21 does: pip install "keysync[mediapipe]"'
        )
    return mediapipe.solutions


def _square(frame: Frame, left: int, top: int, side: int) -> Frame:
    """The square of that corner and side, black where it leaves the frame: the mesh's projection needs a square."""
    h, w = frame.shape[:2]
    square = np.zeros((side, side, 3), dtype=np.uint8)
    rows, columns = slice(max(top, 0), min(top + side, h)), slice(max(left, 0), min(left + side, w))
    part = frame[rows, columns]
    y, x = rows.start - top, columns.start - left
    square[y : y + part.shape[0], x : x + part.shape[1]] = part
    return square


def _without_doubles(faces: list[Face]) -> list[Face]:
    """Of faces that cover each other by half, only the most confident."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if all(overlap(face.box, other.box) < 0.5 for other in kept):
            kept.append(face)
    return kept


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps C++ libraries from writing on file descriptor 2, which no Python setting reaches."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
