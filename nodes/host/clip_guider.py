"""KeySync's GUIDER: the latents of a clip's frames in, its keyframes or all of its frames out.

Shapes: n frames (n, 4, h, w) come in, as a LATENT has them.
"""

from __future__ import annotations

import comfy.model_patcher
import torch
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.face.masks import to_latent
from ...keysync.network.stage import Windows
from ...keysync.systems.keysync.plan import Plan
from .checks import noise_masks, want_finite, want_latents, want_mouths, want_size, want_speech, want_stage
from .guider import LayoutGuider
from .layout import Layout, frame_layout, keyframe_layout
from .sockets import Speech


class ClipGuider(LayoutGuider):
    """A GUIDER whose latents are the frames of a clip: the keyframes of it, or all of it, come out."""

    def __init__(
        self,
        patcher: comfy.model_patcher.ModelPatcher,
        speech: Speech,
        *,
        identity: Tensor | None = None,
        keyframes: Tensor | None = None,
        audio_guidance: float = 0.0,
        identity_guidance: float = 0.0,
    ) -> None:
        """`identity` (1, 4, h, w), or the clip's first frame; `keyframes` (k, 4, h, w) make it an interpolation.

        Raises `KeySyncError` for what does not fit the model.
        """
        super().__init__(patcher, audio_guidance=audio_guidance, identity_guidance=identity_guidance)
        want_stage(self.spec, "keyframe" if keyframes is None else "interpolation")
        want_speech(self.spec, speech)
        want_latents(self.spec, identity=identity, keyframes=keyframes)
        want_finite(speech.features.rows, "the speech")
        self.speech = speech
        self.identity = identity
        self.keyframes = keyframes

    def layout(self, frames: int) -> Layout:
        """How a clip of so many frames is cut up."""
        plan = Plan(frames, self.spec.window)
        return keyframe_layout(plan) if self.keyframes is None else frame_layout(plan)

    def prepare(self, latents: Tensor, denoise_mask: Tensor | None, noises: int) -> tuple[Layout, Windows, Tensor]:
        """See `LayoutGuider`; `latents` are those of n frames, whose keyframes or frames come out."""
        latents = latents.float().cpu()
        want_size(self.spec, latents, "latents")
        want_finite(latents, "latents")
        frames = len(latents)
        layout = self.layout(frames)
        # Resized by the nearest pixel as in training; the core would blend.
        mask = to_latent(noise_masks(self.spec, denoise_mask, frames).float().cpu(), self.spec.latent_size)
        want_mouths(latents, mask)
        scaled = self.model_patcher.model.process_latent_in(latents)
        windows = Windows(
            features=self.speech.for_frames(frames)[layout.slots],
            reference=self._reference(scaled, len(layout.slots)),
            known=scaled[layout.slots],
            mask=mask[layout.slots],
        )
        return layout, windows, latents[layout.slots].flatten(0, 1)

    def _reference(self, latents: Tensor, count: int) -> Tensor:
        """The reference of `count` windows; `latents` (n, 4, h, w) of the clip are scaled."""
        scaled = self.model_patcher.model.process_latent_in
        if self.keyframes is None:
            identity = latents[:1] if self.identity is None else scaled(self.identity[:1].float().cpu())
            return identity.expand(count, -1, -1, -1)
        if len(self.keyframes) != count + 1:
            raise KeySyncError(
                f"{len(self.keyframes)} keyframes were given but a clip of {len(latents)} frames has {count + 1}: "
                "give Sample Keyframes and Interpolate Keyframes the same latents"
            )
        keyframes = scaled(self.keyframes.float().cpu())
        return torch.stack((keyframes[:-1], keyframes[1:]), dim=1)

    def finished(self, sampled: Tensor) -> Tensor:
        """The windows begin and end with the very keyframes."""
        if self.keyframes is None:
            return sampled
        places = slice(None, None, self.spec.window - 1)
        sampled[places] = self.keyframes[: len(sampled[places])].to(sampled)
        return sampled
