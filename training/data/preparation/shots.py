"""The shots of a video, found with PySceneDetect, in seconds since the first frame."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keysync.errors import KeySyncError, install_line
from keysync.face.face import Frame
from keysync.media.reader import VideoReader
from keysync.media.source import Facts

# Frames are scaled down to a short side of this to twice this many pixels.
SHORT_SIDE = 180
# A cut changes a frame by at least this much (the detector's content value, 0..255) and three times as much as the
# frames around it: hard cuts measure at least 48, gestures across the picture up to 25.
LEAST_CHANGE = 30.0


@dataclass(frozen=True, eq=False)
class Shots:
    """The shots [start, stop) of a video in seconds, the pts (n,) of its frames in the reader's time base, and what the
    pass over it told, which a reader that begins elsewhere recalls."""

    seconds: list[tuple[float, float]]
    pts: NDArray[np.int64]
    told: Facts


def find_shots(path: Path) -> Shots:
    """The shots of a video in order, without gaps; a video without a cut is one shot.

    The last shot ends with the last frame's duration. Raises `KeySyncError` for a file that is damaged or not a video,
    and if PySceneDetect is not installed.
    """
    detector, timecode = load_detector()
    reader = VideoReader(path)
    stamps: list[int] = []
    cuts: set[int] = set()
    for index, (pts, frame) in enumerate(reader.frames()):
        stamps.append(pts)
        cuts |= {cut.frame_num for cut in detector.process_frame(timecode(index, fps=25.0), _small(frame))}
    info = reader.info
    edges = [0, *(stamps[cut] - stamps[0] for cut in sorted(cuts)), stamps[-1] - stamps[0] + info.frame_duration]
    seconds = list(pairwise(float(edge * info.time_base) for edge in edges))
    return Shots(seconds, np.array(stamps, dtype=np.int64), reader.facts())


def load_detector() -> tuple[Any, Any]:
    """A cut detector, and the class of its frame numbers. Shots may be short: clips are selected later.

    Raises `KeySyncError` if PySceneDetect is not installed or fails to load.
    """
    try:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector
    except ModuleNotFoundError as error:
        raise KeySyncError(
            f"finding the cuts of a video needs {error.name}: {install_line('scenedetect-headless')}"
        ) from error
    except ImportError as error:
        line = install_line("--force-reinstall", "--no-deps", "opencv-python-headless")
        raise KeySyncError(
            f"scenedetect is installed but fails to load ({error}): install OpenCV without display support, {line}"
        ) from error
    return AdaptiveDetector(min_scene_len=1, min_content_val=LEAST_CHANGE), FrameTimecode


def _small(frame: Frame) -> NDArray[np.uint8]:
    """The frame scaled down by an integer factor, (h, w, 3) in OpenCV's channel order."""
    factor = max(1, min(frame.shape[:2]) // SHORT_SIDE)
    small = np.asarray(Image.fromarray(frame).reduce(factor))
    return np.ascontiguousarray(small[:, :, ::-1])  # RGB -> BGR
