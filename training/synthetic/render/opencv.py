"""OpenCV, which draws the synthetic world; it comes with the training extra."""

from __future__ import annotations

from keysync.errors import KeySyncError, install_line

try:
    import cv2
except ModuleNotFoundError as error:
    raise KeySyncError(
        "the synthetic world is drawn with OpenCV, which is not installed: " + install_line("opencv-python-headless")
    ) from error

__all__ = ["cv2"]
