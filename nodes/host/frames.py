"""Batches of frames as they travel through ComfyUI: IMAGE (n, h, w, c) and MASK (n, h, w), float 0..1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

import comfy.model_management
import comfy.utils
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.face.track import FaceTrack


def alive() -> None:
    """Stops when the user cancels."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def each_frame(count: int) -> Iterator[int]:
    """Yields 0..count-1 and moves the node's progress bar; stops when the user cancels."""
    progress = comfy.utils.ProgressBar(count)
    for index in range(count):
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield index
        progress.update(1)


def steps(total: int) -> Callable[..., None]:
    """What moves the node's progress bar by one or more of `total` steps; it stops when the user cancels."""
    progress = comfy.utils.ProgressBar(max(1, total))

    def step(count: int = 1) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        progress.update(count)

    return step


def as_masks(mask: Tensor) -> Tensor:
    """A MASK as (n, h, w), also one of shape (h, w) or (n, 1, h, w)."""
    return mask.reshape(-1, *mask.shape[-2:])


def check_frames(images: Tensor, track: FaceTrack) -> None:
    """Raises `KeySyncError` unless the images have the number and size of those that the face was tracked in."""
    if len(images) != len(track.found):
        raise KeySyncError(
            f"there are {len(images)} images but the face track covers {len(track.found)} frames: "
            "connect the images used in Track Face"
        )
    h, w = images.shape[1:3]
    if (h, w) != track.size:
        raise KeySyncError(
            f"the images are {w}x{h} but the face was tracked in frames of {track.size[1]}x{track.size[0]}: "
            "connect the images used in Track Face, at their size"
        )


def name_frames(numbers: Iterable[int]) -> str:
    """Rising frame numbers in a short form: `3-5, 9`."""
    runs = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        frames = [frame for _, frame in run]
        runs.append(str(frames[0]) if len(frames) == 1 else f"{frames[0]}-{frames[-1]}")
    return ", ".join(runs)
