"""How good the picture of a clip is: scorers of crops (n, H, W, 3), 0..1, higher is better.

"sharpness" needs no weights. "hyperiqa" is the paper's (supplementary material, curation): HyperIQA through pyiqa.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from keysync.errors import KeySyncError, install_line
from keysync.face.crop import resize

Scorer = Callable[[Tensor], float]

SIZE = 256
LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
LUMA = torch.tensor([0.299, 0.587, 0.114])
LICENCE = "pyiqa's licence is PolyForm Noncommercial 1.0.0: commercial use is not allowed"
# The least score that is kept unless the user says otherwise. Sharpness, measured on clips whose face fills the crop of
# 512 x 512: 40 to 92 as they are, 22 to 37 at half the size, 9 to 17 at a quarter, 11 to 20 blurred by 2 pixels.
LEAST = {"sharpness": 20.0, "hyperiqa": 0.4}


def sharpness(crops: Tensor) -> float:
    """The median over the crops of the variance of the Laplacian of their luma, 0..255.

    It is taken of the middle half, where the face is, with the crop at 256 x 256: so it does not depend on the crop's
    own size, and a small face made large is blurred. Give crops of at least that size, cut from the source.
    """
    planes = resize(crops.detach().float().permute(0, 3, 1, 2), (SIZE, SIZE))  # n h w c -> n c h w
    luma = 255 * torch.einsum("nchw,c->nhw", planes, LUMA.to(planes.device))
    middle = luma[:, SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
    edges = F.conv2d(middle[:, None], LAPLACIAN.to(planes.device)[None, None])
    return float(edges.flatten(1).var(1).quantile(0.5))


class HyperIQA:
    """HyperIQA, trained on KonIQ-10k: about 0..1. Its weights and its backbone's come over the network once.

    Raises `KeySyncError` where pyiqa or its weights are not to be had.
    """

    def __init__(self, device: str) -> None:
        pyiqa = _import_pyiqa()
        try:
            self._metric = pyiqa.create_metric("hyperiqa", device=torch.device(device))
        except Exception as error:  # timm, the hub and torch each raise their own where there is no network or no space
            raise KeySyncError(
                f"the weights of HyperIQA could not be loaded ({type(error).__name__}: {error}): connect to the "
                'network once so that pyiqa can fetch them, or choose the quality "sharpness"'
            ) from error

    def __call__(self, crops: Tensor) -> float:
        planes = crops.detach().float().clamp(0, 1).permute(0, 3, 1, 2)  # n h w c -> n c h w
        # One by one: each picture becomes 25 of 224 x 224.
        scores = [self._metric(picture[None]).float().mean() for picture in planes]
        return float(torch.stack(scores).mean())


def _import_pyiqa() -> Any:
    try:
        import pyiqa
    except ModuleNotFoundError as error:
        raise KeySyncError(
            f'the quality "hyperiqa" needs the package {error.name}: {install_line("pyiqa")} ({LICENCE})'
        ) from error
    except ImportError as error:
        raise KeySyncError(
            f'pyiqa is installed but does not load ({error}): install it anew, or choose the quality "sharpness"'
        ) from error
    return pyiqa


def _sharpness(device: str) -> Scorer:
    return lambda crops: sharpness(crops.to(device))


# A scorer for a device.
QUALITY: dict[str, Callable[[str], Scorer]] = {"sharpness": _sharpness, "hyperiqa": HyperIQA}
