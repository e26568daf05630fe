"""OpenCV, which draws the synthetic world; it comes with the training extra."""

from __future__ import annotations

from keysync.errors import KeySyncError

try:
    import cv2
except ModuleNotFoundError as error:
    raise KeySyncError(
        f'the synthetic world is drawn with OpenCV, and no {error.name} is installed: pip install "keysync[training]"'
    ) from error

__all__ = ["cv2"]
