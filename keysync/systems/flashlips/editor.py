"""FlashLips' editor: draws a frame in one pass, without noise (equations 1 to 3).

The network sees, side by side over channels: the source's latent, a mask, the features of the references, and the lips
vector copied to every cell. It predicts what is to be added to the source's latent.

The same network works with a mask and without one. The mask is ours: 1 in cells whose picture was hidden before it was
encoded (`hidden`), so that the network need not guess what is hidden; with 0 everywhere the source is whole, and the
mouth is drawn over its own. Pictures are hidden, not latents: the VAE spreads what a pixel shows over the cells around
it, from which the network could read the mouth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import KeySyncError
from ...method import LATENT_CHANNELS, PIXELS_PER_LATENT
from ...network.peak import peak_bytes
from ...network.precision import Repairable
from .networks import EditorConfig, TransformerConfig, UNetConfig
from .references import References
from .transformer import Transformer
from .unet import UNet

MASK_CHANNELS = 1
# The level of a hidden pixel, 0..1: 0 after the VAE's scaling to -1..1.
HIDDEN = 0.5


class Editor(Repairable):
    """Latents of sources and lips vectors to latents of the same frames with other mouths.

    Latents are scaled as the VAE scales them. A new editor gives back its source.
    """

    def __init__(self, config: EditorConfig, lips: int) -> None:
        super().__init__()
        self.config, self.lips = config, lips
        channels = LATENT_CHANNELS + MASK_CHANNELS + config.references.features + lips
        self.references = References(config.references)
        self.backbone = backbone(config.backbone, channels, LATENT_CHANNELS)

    def forward(self, source: Tensor, mask: Tensor | None, features: Tensor, lips: Tensor) -> Tensor:
        """source (n, 4, h, w), mask (n, 1, h, w) or None for whole sources, `features` (n or 1, f, h, w) of
        `self.references`, lips (n, w) -> latents (n, 4, h, w)."""
        count, _, height, width = source.shape
        if mask is None:
            mask = source.new_zeros(count, MASK_CHANNELS, height, width)
        cells = lips[:, :, None, None].expand(-1, -1, height, width)
        features = features.expand(count, -1, -1, -1)
        out: Tensor = source + self.backbone(torch.cat((source, mask, features, cells), dim=1))
        return out

    def peak_bytes(self, count: int, latent_size: tuple[int, int]) -> int:
        """The most bytes that drawing so many frames takes at once, besides the weights."""
        like = next(self.parameters())
        channels = (LATENT_CHANNELS, MASK_CHANNELS, self.config.references.features)
        shapes = (*((count, one, *latent_size) for one in channels), (count, self.lips))
        return peak_bytes(self, *(torch.empty(shape, dtype=like.dtype, device="meta") for shape in shapes))


def backbone(config: UNetConfig | TransformerConfig, in_channels: int, out_channels: int) -> nn.Module:
    """A backbone with random weights; its output is 0."""
    if isinstance(config, UNetConfig):
        return UNet(config, in_channels, out_channels)
    return Transformer(config, in_channels, out_channels)


def hidden(pictures: Tensor, masks: Tensor) -> Tensor:
    """Pictures (n, H, W, 3), 0..1, with the mouth hidden where masks (n, H, W) are 1."""
    if pictures.shape[:-1] != masks.shape:
        raise KeySyncError(
            f"the masks have shape {list(masks.shape)} but the pictures {list(pictures.shape)}: expected one mask of "
            "the same size for each picture"
        )
    return torch.where(masks[..., None] > 0, HIDDEN, pictures)


def hidden_cells(masks: Tensor) -> Tensor:
    """The cells (n, 1, h, w) of latents of which masks (n, H, W) hide a pixel: 1 there, else 0."""
    return F.max_pool2d((masks > 0).to(masks.dtype)[:, None], PIXELS_PER_LATENT)
