"""KeyFace's GUIDER: a portrait and a sound in, the keyframes of a talking head or the pictures of its windows out.

How many frames there are follows from the sound, at 25 a second.
"""

from __future__ import annotations

import comfy.model_patcher
import torch
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.network.stage import KEYFACE, Windows
from ...keysync.systems.keyface.emotion import Emotion
from ...keysync.systems.keysync.plan import Plan
from .checks import want_finite, want_latents, want_size, want_stage
from .guider import LayoutGuider
from .keyface import want_good, want_weak
from .layout import Layout, keyframe_layout, window_layout
from .sound import Sound, want_heard


class HeadGuider(LayoutGuider):
    """A GUIDER of a talking head, whose first latent is the portrait: no other is looked at.

    Keyframes come out as those of a clip do. Frames come out window by window: the frame that two windows share comes
    out of both, and the mean of both pictures is shown.
    """

    def __init__(
        self,
        patcher: comfy.model_patcher.ModelPatcher,
        sound: Sound,
        *,
        identity: Tensor | None = None,
        keyframes: Tensor | None = None,
        emotion: Emotion | None = None,
        weak: comfy.model_patcher.ModelPatcher | None = None,
        audio_guidance: float = 0.0,
        identity_guidance: float = 0.0,
        autoguidance: float = 0.0,
    ) -> None:
        """`identity` (1, 4, h, w), or the first latent that is sampled; `keyframes` (k, 4, h, w) make it an
        interpolation, which `weak` guides; `emotion` None is neutral.

        Raises `KeySyncError` for what does not fit the model.
        """
        if weak is not None:
            want_weak(weak, patcher)
        elif keyframes is not None and not autoguidance:
            autoguidance = 1.0
        super().__init__(
            patcher,
            weak=weak,
            audio_guidance=audio_guidance,
            identity_guidance=identity_guidance,
            autoguidance=autoguidance,
        )
        want_stage(self.spec, KEYFACE[keyframes is not None])
        want_good(self.spec)
        want_heard(self.spec, sound, "speech")
        want_latents(self.spec, identity=identity, keyframes=keyframes)
        if keyframes is not None and weak is None:
            self.notes.add("the interpolation is not guided: no weaker copy of its model is connected")
        self.features = sound.rows()
        want_finite(self.features, "the sound")
        if self.features.shape[-1] != self.spec.audio_channels:
            raise KeySyncError(
                f"the sound has {self.features.shape[-1]} channels but the {self.spec.name} model needs "
                f"{self.spec.audio_channels}: load the encoders that it was trained with in Load Speech Encoder"
            )
        self.emotion = torch.from_numpy((emotion or Emotion.of("neutral")).at(sound.times())).float()
        self.identity = identity
        self.keyframes = keyframes

    def layout(self, frames: int) -> Layout:
        """How the head is cut up: by the sound, however many latents there are."""
        plan = Plan(len(self.features), self.spec.window)
        return keyframe_layout(plan) if self.keyframes is None else window_layout(plan)

    def prepare(self, latents: Tensor, denoise_mask: Tensor | None, noises: int) -> tuple[Layout, Windows, Tensor]:
        """See `LayoutGuider`; the first of the `latents` is the portrait, and no other is looked at."""
        given, latents = len(latents), latents[:1].float().cpu()
        want_size(self.spec, latents, "latents")
        want_finite(latents, "latents")
        if denoise_mask is not None:
            raise KeySyncError(
                "the latents have a noise mask but KeyFace draws the whole picture: connect VAE Encode without Set "
                "Latent Noise Mask"
            )
        layout, frames = self.layout(1), len(self.features)
        if noises not in (layout.slots.numel(), frames):
            raise KeySyncError(
                f"there are {given} latents but the sound lasts {frames} frames: repeat the portrait "
                f"{frames} times with Repeat Latent Batch, or use Sample Keyframes and Interpolate Keyframes"
            )
        controls = self.emotion[layout.slots] if self.spec.row.controls else None
        windows = Windows.unmasked(self.features[layout.slots], self._reference(latents, layout), controls)
        return layout, windows, self.model_patcher.model.process_latent_out(windows.known).flatten(0, 1)

    def _reference(self, latents: Tensor, layout: Layout) -> Tensor:
        """The reference of every window."""
        scaled, count = self.model_patcher.model.process_latent_in, len(layout.slots)
        if self.keyframes is None:
            identity = latents if self.identity is None else self.identity[:1].float().cpu()
            reference: Tensor = scaled(identity).expand(count, -1, -1, -1)
            return reference
        if len(self.keyframes) != count + 1:
            raise KeySyncError(
                f"{len(self.keyframes)} keyframes were given but a sound of {len(self.features)} frames has "
                f"{count + 1}: encode the same audio for Sample Keyframes and Interpolate Keyframes"
            )
        keyframes = scaled(self.keyframes.float().cpu())
        return torch.stack((keyframes[:-1], keyframes[1:]), dim=1)
