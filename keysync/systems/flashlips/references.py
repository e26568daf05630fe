"""The reference backbone: 1 to 4 frames of the same person, as features that the editor sees beside the source.

The number 4 is published, the network is ours. References do not depend on the frame that is drawn: their features are
made once for a clip.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...method import LATENT_CHANNELS
from .convolution import ResidualBlock, norm
from .networks import ReferencesConfig


class References(nn.Module):
    """Latents (n, r, 4, h, w) of r references -> features (n, features, h, w).

    Each reference goes through the same convolutions, which also say for each cell how much it counts there; the
    features are the mean so weighted. Neither their order nor their number matters to the network.
    """

    def __init__(self, config: ReferencesConfig) -> None:
        super().__init__()
        channels = config.channels
        self.config = config
        self.enter = nn.Conv2d(LATENT_CHANNELS, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels, channels) for _ in range(config.blocks)))
        self.leave = nn.Sequential(norm(channels), nn.SiLU(), nn.Conv2d(channels, config.features + 1, 3, padding=1))

    def forward(self, latents: Tensor) -> Tensor:
        count = latents.shape[1]
        seen = self.leave(self.blocks(self.enter(latents.flatten(0, 1)))).unflatten(0, (-1, count))
        features, weights = seen[:, :, :-1], seen[:, :, -1:].softmax(dim=1)
        out: Tensor = (features * weights).sum(1)
        return out
