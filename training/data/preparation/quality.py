"""Image quality of a clip: scorers of crops (n, H, W, 3) in 0..1; higher is better.

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
LICENCE = "pyiqa is licensed under PolyForm Noncommercial 1.0.0, which excludes commercial use"
# Default limits. Sharpness, measured on clips whose face fills a crop of 512 x 512: 40 to 92 unchanged, 22 to 37 at
# half the size, 9 to 17 at a quarter, 11 to 20 blurred by 2 pixels.
LEAST = {"sharpness": 20.0, "hyperiqa": 0.4}


def sharpness(crops: Tensor) -> float:
    """The median over the crops of the variance of the Laplacian of their luma, 0..255.

    It is measured in the middle half, where the face is, at 256 x 256: it does not depend on the size of the crop, and
    an enlarged small face counts as blurred. Crops must have at least that size and come from the source.
    """
    planes = resize(crops.detach().float().permute(0, 3, 1, 2), (SIZE, SIZE))  # n h w c -> n c h w
    luma = 255 * torch.einsum("nchw,c->nhw", planes, LUMA.to(planes.device))
    middle = luma[:, SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
    edges = F.conv2d(middle[:, None], LAPLACIAN.to(planes.device)[None, None])
    return float(edges.flatten(1).var(1).quantile(0.5))


class HyperIQA:
    """HyperIQA, trained on KonIQ-10k: about 0..1. pyiqa downloads its weights once.

    Raises `KeySyncError` if pyiqa or its weights are not available.
    """

    def __init__(self, device: str) -> None:
        pyiqa = _import_pyiqa()
        try:
            self._metric = pyiqa.create_metric("hyperiqa", device=torch.device(device))
        except Exception as error:  # timm, the hub and torch raise their own without a network or disk space
            raise KeySyncError(
                f"cannot load the weights of HyperIQA ({type(error).__name__}: {error}): connect to the network once "
                "so that pyiqa can download them, or use --quality sharpness"
            ) from error

    def __call__(self, crops: Tensor) -> float:
        planes = crops.detach().float().clamp(0, 1).permute(0, 3, 1, 2)  # n h w c -> n c h w
        # One by one: each picture is split into 25 of 224 x 224.
        scores = [self._metric(picture[None]).float().mean() for picture in planes]
        return float(torch.stack(scores).mean())


def _import_pyiqa() -> Any:
    try:
        import pyiqa
    except ModuleNotFoundError as error:
        raise KeySyncError(f"--quality hyperiqa needs {error.name}: {install_line('pyiqa')} ({LICENCE})") from error
    except ImportError as error:
        raise KeySyncError(
            f"pyiqa is installed but fails to load ({error}): reinstall it, or use --quality sharpness"
        ) from error
    return pyiqa


def _sharpness(device: str) -> Scorer:
    return lambda crops: sharpness(crops.to(device))


# By name: makes a scorer for a device.
QUALITY: dict[str, Callable[[str], Scorer]] = {"sharpness": _sharpness, "hyperiqa": HyperIQA}
