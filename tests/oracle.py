"""MediaPipe's own package as an oracle for the built-in face finder: `python -m tests.oracle` records what it finds.

The record, tests/data/mediapipe_faces.json, was made with mediapipe 0.10.21 on Python 3.11; no test needs the package.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keysync.face.face import Face, Frame
from keysync.face.finder.finder import CLOSE_UPS, without_doubles
from keysync.face.finder.points import MESH_TO_68

from .portrait import PORTRAIT, portrait_frames

RECORD = Path(__file__).parent / "data" / "mediapipe_faces.json"


class MediaPipe:
    """MediaPipe's full-range detection, then its face mesh on the crop around each detection; frames by themselves."""

    def __init__(self) -> None:
        with silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mediapipe import solutions

            self._detection = solutions.face_detection.FaceDetection(model_selection=1)
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.1
            )

    def detect(self, frame: Frame) -> list[Face]:
        h, w = frame.shape[:2]
        faces = []
        with silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for detection in self._detection.process(np.ascontiguousarray(frame)).detections or []:
                box = detection.location_data.relative_bounding_box
                x, y = (box.xmin + box.width / 2) * w, (box.ymin + box.height / 2) * h
                points = self._points(frame, x, y, max(box.width * w, box.height * h))
                if points is not None:
                    faces.append(Face.of(points, float(detection.score[0])))
        return without_doubles(faces)

    def _points(self, frame: Frame, x: float, y: float, side: float) -> NDArray[np.float64] | None:
        for factor in CLOSE_UPS:
            left, top, width = round(x - factor * side / 2), round(y - factor * side / 2), max(round(factor * side), 8)
            found = self._mesh.process(square(frame, left, top, width)).multi_face_landmarks
            if found:
                mesh = np.array([(point.x, point.y) for point in found[0].landmark]) * float(width) + (left, top)
                points: NDArray[np.float64] = mesh[list(MESH_TO_68)]
                (x0, y0), (x1, y1) = points.min(0), points.max(0)
                distance = np.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y)
                if distance < side / 2 and 0.5 * side < max(x1 - x0, y1 - y0) < 2 * side:
                    return points
        return None


def square(frame: Frame, left: int, top: int, side: int) -> Frame:
    """The square of that corner and side, black where it leaves the frame."""
    padded = np.pad(frame, ((side, side), (side, side), (0, 0)))
    left, top = min(max(left + side, 0), frame.shape[1] + side), min(max(top + side, 0), frame.shape[0] + side)
    return np.ascontiguousarray(padded[top : top + side, left : left + side])


def pictures() -> dict[str, Frame]:
    """The pictures of the record, by name: one real face large, small, at the edge, tilted, twice and moving."""
    with Image.open(PORTRAIT) as file:
        portrait = file.convert("RGB")
    edge = np.full((360, 640, 3), 90, dtype=np.uint8)
    edge[230:360, 0:180] = np.asarray(portrait)[60:190, 150:330]
    twice = np.full((360, 720, 3), 40, dtype=np.uint8)
    for left, side in ((0, 360), (380, 330)):
        twice[0:side, left : left + side] = np.asarray(portrait.resize((side, side), Image.Resampling.BICUBIC))
    sizes = {
        f"{side} pixels": np.asarray(portrait.resize((side, side), Image.Resampling.BICUBIC)) for side in (200, 901)
    }
    tilted = {
        f"tilted by {angle}": np.asarray(portrait.rotate(angle, Image.Resampling.BICUBIC, expand=True))
        for angle in (-40, 25)
    }
    moving = {f"moving, frame {number}": frame for number, frame in enumerate(portrait_frames(3))}
    return {"as it is": np.asarray(portrait), **sizes, "at the edge": edge, "twice": twice, **tilted, **moving}


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Keeps C++ libraries from writing on file descriptor 2, which no Python setting reaches."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def main() -> None:
    detector = MediaPipe()
    record: dict[str, Any] = {
        name: [
            {"landmarks": face.landmarks.round(3).tolist(), "confidence": round(face.confidence, 4)}
            for face in detector.detect(picture)
        ]
        for name, picture in pictures().items()
    }
    RECORD.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
