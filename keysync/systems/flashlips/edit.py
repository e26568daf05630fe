"""The editor at work on frames: as many at once as the device has memory for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...network.parallel import SMALL, at_once, cores
from .editor import Editor

# How much of a GPU's free memory a call of the editor may take, and the most frames of a call.
FREE_SHARE, MOST = 0.7, 64


@torch.no_grad()
def edit(
    editor: Editor,
    source: Tensor,
    mask: Tensor | None,
    features: Tensor,
    lips: Tensor,
    smaller: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """Latents (n, 4, h, w), at least float32, of what the editor makes of sources of that shape; see `Editor.forward`.

    Frames do not see each other, so any grouping gives the same numbers. On the device of `source`. `smaller` is called
    with the frames of a call where a GPU's memory did not hold more. Raises `KeySyncError` where it does not hold one.
    """
    like = next(editor.parameters())

    def drawn(part: slice) -> Tensor:
        own = features if len(features) == 1 else features[part]
        inputs = (source[part], None if mask is None else mask[part], own, lips[part])
        placed = (None if one is None else one.to(like.device, like.dtype) for one in inputs)
        made: Tensor = editor(*placed)
        return made.to(source.device, source.dtype)

    size = (source.shape[2], source.shape[3])
    together = frames_a_call(editor, size, len(source))
    count = cores(like.device, partial(editor.peak_bytes, together, size))
    together = min(together, -(-len(source) // count))
    while True:
        try:
            return torch.cat(at_once([partial(drawn, part) for part in _parts(len(source), together)], count))
        except torch.OutOfMemoryError as error:
            if together == 1:
                raise KeySyncError(
                    "the GPU's memory does not hold the editor at work on one frame: close other programs that use the "
                    "GPU, or use weights in half precision"
                ) from error
        together //= 2
        smaller(together)
        torch.cuda.empty_cache()


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def frames_a_call(editor: Editor, latent_size: tuple[int, int], most: int) -> int:
    """How many of so many frames share a call: as many as a GPU's free memory or a CPU's caches hold."""
    device = next(editor.parameters()).device
    if device.type == "cuda":
        room = int(FREE_SHARE * torch.cuda.mem_get_info(device)[0])
    elif device.type == "cpu":
        room = SMALL
    else:
        return 1
    return max(1, min(room // editor.peak_bytes(1, latent_size), most, MOST))
