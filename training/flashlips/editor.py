"""Teaches the editor and, with it, the lips vector: a frame whose mouth is hidden is drawn from what its lips do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from keysync.systems.flashlips.editor import hidden_cells

from .course import new_spec
from .drawing import DrawingCourse, DrawingLoss, Drawn

if TYPE_CHECKING:
    from keysync.systems.flashlips.spec import FlashLipsSpec

    from .frames import Frames
    from .hidden_latents import HiddenLatents
    from .reconstruction import Reconstruction


class EditorLoss(DrawingLoss):
    """The loss of an editor and a lips vector."""

    def draw(self, frames: Frames) -> Drawn:
        editor, lips = self.editor, self.network["lips"](frames.picture, frames.points)
        features = editor.references(frames.references)
        drawn = editor(self.hide(frames), hidden_cells(frames.mask), features, lips)
        return Drawn(drawn, frames.latent, frames.picture)


class EditorCourse(DrawingCourse):
    """The editor and the lips vector, from new weights or those of a file."""

    TRAINED = ("editor", "lips")

    def new_spec(self) -> FlashLipsSpec:
        return new_spec(self.config, self.shards)

    def trained_spec(self) -> FlashLipsSpec:
        return replace(self.spec, mask=self.config.mask, mask_free=False)

    def drawing_loss(self, hide: HiddenLatents, reconstruction: Reconstruction, device: torch.device) -> EditorLoss:
        return EditorLoss(self.network, hide, reconstruction)
