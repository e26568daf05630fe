"""Where a video cuts, by PySceneDetect: shots as (start, stop) in seconds since the first frame."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keysync.errors import KeySyncError, install_line
from keysync.face.face import Frame
from keysync.media.reader import VideoReader

# Frames are looked at with a short side of this to twice this many pixels.
SHORT_SIDE = 180
# A cut changes a frame at least this much (the detector's content value, 0..255) and three times as much as the frames
# around it: hard cuts measure 48 and more, gestures of a whole picture up to 25.
LEAST_CHANGE = 30.0


def find_shots(path: Path) -> list[tuple[float, float]]:
    """The shots [start, stop) of a video in order, without gaps; a video without a cut is one shot.

    The last one stops where the last frame's time is over. Raises `KeySyncError` for what is no video, or a damaged
    one, and where PySceneDetect is not installed.
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
    return list(pairwise(float(edge * info.time_base) for edge in edges))


def load_detector() -> tuple[Any, Any]:
    """A detector that counts frames, and the class of its counts. Shots may be short: clips are chosen later.

    Raises `KeySyncError` where PySceneDetect is not installed or does not load.
    """
    try:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector
    except ModuleNotFoundError as error:
        raise KeySyncError(
            f"finding the cuts of a video needs the package {error.name}: {install_line('scenedetect-headless')}"
        ) from error
    except ImportError as error:
        line = install_line("--force-reinstall", "--no-deps", "opencv-python-headless")
        raise KeySyncError(
            f"scenedetect is installed but does not load ({error}): install the OpenCV that needs no display, {line}"
        ) from error
    return AdaptiveDetector(min_scene_len=1, min_content_val=LEAST_CHANGE), FrameTimecode


def _small(frame: Frame) -> NDArray[np.uint8]:
    """The frame made small by a whole factor, (h, w, 3) in the order that OpenCV expects."""
    factor = max(1, min(frame.shape[:2]) // SHORT_SIDE)
    small = np.asarray(Image.fromarray(frame).reduce(factor))
    return np.ascontiguousarray(small[:, :, ::-1])  # RGB -> BGR
