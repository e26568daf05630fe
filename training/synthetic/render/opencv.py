"""OpenCV, which renders the synthetic world; part of the training extra."""

from __future__ import annotations

from keysync.errors import KeySyncError, install_line

try:
    import cv2
except ModuleNotFoundError as error:
    raise KeySyncError(
        f"rendering the synthetic world needs OpenCV: {install_line('opencv-python-headless')}"
    ) from error

__all__ = ["cv2"]
