"""The pictures of a head's windows as its frames: a frame that two windows share is the mean of both pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def join_windows(pictures: Tensor, window: int) -> Tensor:
    """Frames (n, h, w, c) from the pictures (m, h, w, c) of windows of `window` each, the last of them perhaps shorter.

    The last picture of a window and the first of the next one show the same frame.
    """
    joined = pictures.clone()
    joined[window - 1 : -1 : window] = (pictures[window - 1 : -1 : window] + pictures[window::window]) / 2
    kept = torch.ones(len(pictures), dtype=torch.bool)
    kept[window::window] = False
    return joined[kept]
