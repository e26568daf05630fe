"""Networks that the loss looks through, which are not part of the package: named in the settings, loaded by a function.

Such a function takes a device and returns a callable of pictures (n, 3, H, W) in -1..1 that returns their features: a
tensor or several, such as the layers of VGG-19 or the embedding of a face-recognition network. Gradients must pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..config.named import load_named

Features = Callable[[Tensor], Tensor | Iterable[Tensor]]

logger = logging.getLogger(__name__)


def load_hook(name: str, setting: str, device: torch.device) -> Features | None:
    """The network that `name`, a value of `setting` such as package.module:function, loads; for an empty name None,
    which a message says. Raises `KeySyncError` if the function does not exist or fails."""
    if not name:
        logger.info("%s is empty: the loss is without this term", setting)
        return None
    loaded: Features = load_named(name, f"{setting} network", "a callable of pictures", device)
    return loaded


def feature_error(features: Features, ours: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference of the features of pictures (n, 3, H, W) in -1..1, summed over the tensors."""
    with torch.no_grad():
        theirs = _tensors(features(target))
    pairs = zip(_tensors(features(ours)), theirs, strict=True)
    return torch.stack([(one - other).abs().mean() for one, other in pairs]).sum()


def _tensors(features: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features)
