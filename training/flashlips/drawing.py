"""Courses whose network draws frames: the loss, its validation, and what it needs besides the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.flashlips.editor import Editor
from keysync.systems.flashlips.unet import UNet
from keysync.vae.vae import VAE

from ..data.shards import Shards
from ..run.course import Outcome
from ..run.samples import grid
from ..run.vae import load_vae_of
from .config import FlashLipsConfig
from .course import FlashLipsCourse
from .frames import Frame, FrameDataset, Frames, collate, validation_frames
from .hidden_latents import HiddenLatents
from .hooks import load_hook
from .reconstruction import Errors, Reconstruction

# Frames that the validation's loss is averaged over, and those that are shown.
VALIDATED, SHOWN = 16, 8


class Drawn(NamedTuple):
    """What a network drew, what it should have drawn (n, 4, h, w), and the pictures of that (n, 3, H, W) in 0..1."""

    latents: Tensor
    target: Tensor
    pictures: Tensor


class DrawingLoss(nn.Module):
    """The loss of a `network` that draws `Frames`; `hide` and `reconstruction` are frozen and not submodules."""

    def __init__(self, network: nn.ModuleDict, hide: HiddenLatents, reconstruction: Reconstruction) -> None:
        super().__init__()
        self.network = network
        self._outside = hide, reconstruction

    @property
    def editor(self) -> Editor:
        """The editor that is trained."""
        return cast("Editor", self.network["editor"])

    @property
    def hide(self) -> HiddenLatents:
        """What encodes hidden frames."""
        return self._outside[0]

    @property
    def reconstruction(self) -> Reconstruction:
        """What compares drawn frames."""
        return self._outside[1]

    @abstractmethod
    def draw(self, frames: Frames) -> Drawn:
        """Draws frames on the network's device."""

    def forward(self, frames: Frames) -> Errors:
        """The errors of a batch."""
        frames = self.moved(frames)
        drawn = self.draw(frames)
        return self.reconstruction.errors(drawn.latents.float(), drawn.target, frames, drawn.pictures)

    def moved(self, frames: Frames) -> Frames:
        """The frames on the network's device."""
        moved = frames.to(next(self.network.parameters()).device)
        assert isinstance(moved, Frames)
        return moved


class DrawingValidation:
    """The loss on frames that are not trained on."""

    def __init__(self, shards: Shards, config: FlashLipsConfig, trained: FrameDataset, vae: VAE) -> None:
        self._frames = validation_frames(shards, config, trained, VALIDATED)
        self._vae = vae

    @torch.no_grad()
    def run(self, module: DrawingLoss) -> Outcome:
        """The loss, and a picture of frames above the drawn ones."""
        loss = float(module(self._frames).total)
        drawn = module.draw(module.moved(self._frames))
        shown = slice(SHOWN)
        picture: NDArray[np.uint8] = grid(self._vae, drawn.target[None, shown], drawn.latents[None, shown].float())
        return Outcome({"loss": loss}, picture)


class DrawingCourse(FlashLipsCourse):
    """A course of a network with an editor, taught by frames."""

    windows: FrameDataset

    def __init__(self, config: FlashLipsConfig, shards: Shards) -> None:
        super().__init__(config, shards)
        self.windows = FrameDataset(shards, config)

    def collate(self, windows: Sequence[Frame]) -> Frames:
        return collate(windows)

    def loss(self, device: torch.device) -> DrawingLoss:
        config = self.config
        self._vae = load_vae_of(config.vae, self.shards, device)
        if self._vae.encoder is None:
            raise KeySyncError(f"{self._vae.source} has no encoder, which hides mouths: name a whole VAE with --vae")
        networks = [
            load_hook(name, setting, device) if weight else None
            for name, setting, weight in (
                (config.perceptual, "perceptual", config.perceptual_weight),
                (config.face, "face", config.face_weight),
            )
        ]
        decoder = self._vae.decoder.requires_grad_(False).eval() if config.compares_pixels else None
        reconstruction = Reconstruction(config, decoder, *networks)
        return self.drawing_loss(HiddenLatents(self._vae, config.kept_hidden), reconstruction, device)

    @abstractmethod
    def drawing_loss(self, hide: HiddenLatents, reconstruction: Reconstruction, device: torch.device) -> DrawingLoss:
        """The loss of the network."""

    def validation(self) -> DrawingValidation:
        return DrawingValidation(self.shards, self.config, self.windows, self._vae)

    def blocks(self) -> Iterable[nn.Module]:
        backbone: nn.Module = cast("Editor", self.network["editor"]).backbone
        if isinstance(backbone, UNet):
            levels = (*backbone.down, *backbone.up)
            return (*(block for level in levels for block in level.children()), backbone.middle)
        blocks = backbone.blocks
        assert isinstance(blocks, nn.ModuleList)
        return tuple(blocks)

    @property
    def methods(self) -> tuple[str, ...]:
        return ("draw",)
