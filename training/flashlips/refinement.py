"""Teaches the editor to change the mouth of a whole frame: mask-free refinement by its own altered frames.

The editor as it is draws other lips into a frame whose mouth is hidden; what it drew is put into the frame's latent
inside the mask only. A copy of it learns to draw the frame from that, without a mask, and for a share of the pairs the
other way round. How the altered frame is put together, and that share, are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.flashlips.editor import Editor, hidden_cells
from keysync.systems.flashlips.lips_vector import LipsVector

from ..loss.loss import decoded
from .drawing import DrawingCourse, DrawingLoss, Drawn

if TYPE_CHECKING:
    from keysync.systems.flashlips.spec import FlashLipsSpec

    from ..data.shards import Shards
    from .config import FlashLipsConfig
    from .frames import Frames
    from .hidden_latents import HiddenLatents
    from .reconstruction import Reconstruction


class RefinementLoss(DrawingLoss):
    """The loss of an editor that draws over whole frames; `teacher` and `lips` alter them, and are not submodules."""

    def __init__(
        self,
        network: nn.ModuleDict,
        hide: HiddenLatents,
        reconstruction: Reconstruction,
        teacher: Editor,
        lips: LipsVector,
    ) -> None:
        super().__init__(network, hide, reconstruction)
        self._frozen = teacher, lips

    def draw(self, frames: Frames) -> Drawn:
        altered, own, others = self.alter(frames)
        turned = frames.reversed[:, None, None, None]
        source, target = torch.where(turned, frames.latent, altered), torch.where(turned, altered, frames.latent)
        lips = torch.where(frames.reversed[:, None], others, own)
        editor = self.editor
        drawn = editor(source, None, editor.references(frames.references), lips)
        return Drawn(drawn, target, self._pictures(frames, target))

    @torch.no_grad()
    def alter(self, frames: Frames) -> tuple[Tensor, Tensor, Tensor]:
        """The latents (n, 4, h, w) of the frames with other lips, and the lips vectors (n, w) of the frames and of
        those."""
        teacher, read = self._frozen
        own = read(frames.picture, frames.points)
        others = read(frames.other_picture, frames.other_points)
        others = torch.where(frames.by_another[:, None], own.roll(1, 0), others)
        cells = hidden_cells(frames.mask)
        drawn = teacher(self.hide(frames), cells, teacher.references(frames.references), others)
        return torch.where(cells > 0, drawn, frames.latent), own, others

    @torch.no_grad()
    def _pictures(self, frames: Frames, target: Tensor) -> Tensor:
        """The pictures to draw: the frames' own, and decoded ones of altered latents."""
        decoder = self.reconstruction.decoder
        if decoder is None or not frames.reversed.any():
            return frames.picture
        pictures = frames.picture.clone()
        pictures[frames.reversed] = decoded(decoder, target[frames.reversed]).float() / 2 + 0.5
        return pictures


class RefinementCourse(DrawingCourse):
    """A copy of a file's editor, which learns to work without a mask.

    Raises `KeySyncError` for another mask than the file's.
    """

    TRAINED, NEEDED = ("editor",), ("editor", "lips")

    def __init__(self, config: FlashLipsConfig, shards: Shards) -> None:
        super().__init__(config, shards)
        if self.spec.mask != config.mask:
            raise KeySyncError(
                f"{config.start} hides the {self.spec.mask} mask but mask is {config.mask}: "
                f"set mask to {self.spec.mask}"
            )

    def trained_spec(self) -> FlashLipsSpec:
        return replace(self.spec, mask_free=True)

    def drawing_loss(self, hide: HiddenLatents, reconstruction: Reconstruction, device: torch.device) -> RefinementLoss:
        frozen = self.frozen("editor", device), self.frozen("lips", device)
        return RefinementLoss(self.network, hide, reconstruction, *frozen)
