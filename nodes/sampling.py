"""Sample Keyframes, Interpolate Keyframes, and for SamplerCustomAdvanced KeySync Guider and KeySync Sigmas."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import latent_preview
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.network.noise import Noise, draw
from ..keysync.network.stage import ENDS
from ..keysync.systems.keyface.emotion import Emotion
from ..keysync.systems.keysync.presets import EXACT, make_sampling
from .host.checks import spec_of
from .host.guider import LayoutGuider
from .host.guiders import make_guider
from .host.search import schema
from .host.sockets import Speech
from .host.sound import Sound
from .sampling_inputs import (
    emotion_input,
    guidance_inputs,
    preset_input,
    seed_input,
    speech_input,
    steps_input,
    weak_inputs,
)

LatentDict = dict[str, Any]

IDENTITY_TIP = "The face to keep, as the latent of one frame. Without it, the first frame of the clip is used."


class SampleKeyframes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncSampleKeyframes",
            display_name="Sample Keyframes",
            category="KeySync",
            description="Stage one: generates every 13th frame of the clip from the speech. With a KeyFace model, "
            "every 13th frame of a talking head, as long as the sound.",
            inputs=[
                io.Model.Input("model", tooltip="The keyframe model, from Load KeySync Model or Load KeyFace Model."),
                speech_input(),
                *_clip_inputs(),
                io.Latent.Input("identity", optional=True, tooltip=IDENTITY_TIP),
                *_sampler_inputs(),
                emotion_input(),
            ],
            outputs=[io.Latent.Output(display_name="keyframes", tooltip="The keyframes, in order.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        speech: Speech | Sound,
        latent: LatentDict,
        seed: int,
        audio_guidance: float,
        identity_guidance: float,
        identity: LatentDict | None = None,
        sampler: comfy.samplers.Sampler | None = None,
        sigmas: Tensor | None = None,
        emotion: Emotion | None = None,
    ) -> io.NodeOutput:
        guider = make_guider(
            model,
            speech,
            identity=identity,
            emotion=emotion,
            audio_guidance=audio_guidance,
            identity_guidance=identity_guidance,
        )
        return io.NodeOutput(sample(guider, latent, Noise.from_seed(seed).keyframes, sampler, sigmas))


class InterpolateKeyframes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncInterpolateKeyframes",
            display_name="Interpolate Keyframes",
            category="KeySync",
            description="Stage two: generates the frames between the keyframes from the speech.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The interpolation model, from Load KeySync Model or Load KeyFace Model."
                ),
                speech_input(),
                *_clip_inputs(),
                io.Latent.Input("keyframes", tooltip="From Sample Keyframes, generated from the same latents."),
                *_sampler_inputs(),
                *weak_inputs(),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="frames",
                    tooltip="All frames of the clip. With a KeyFace model, those of all windows, for Decode Frames "
                    "and then Join Windows.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        speech: Speech | Sound,
        latent: LatentDict,
        keyframes: LatentDict,
        seed: int,
        audio_guidance: float,
        identity_guidance: float,
        sampler: comfy.samplers.Sampler | None = None,
        sigmas: Tensor | None = None,
        weak_model: ModelPatcher | None = None,
        autoguidance: float = 0.0,
    ) -> io.NodeOutput:
        guider = make_guider(
            model,
            speech,
            keyframes=keyframes,
            weak_model=weak_model,
            autoguidance=autoguidance,
            audio_guidance=audio_guidance,
            identity_guidance=identity_guidance,
        )
        return io.NodeOutput(sample(guider, latent, Noise.from_seed(seed).windows, sampler, sigmas))


class KeySyncGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncGuider",
            display_name="KeySync Guider",
            category="KeySync",
            description="Either stage as a guider for SamplerCustomAdvanced: takes the latents of all frames, returns "
            "the keyframes (keyframe model) or all frames (interpolation model).",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The keyframe or the interpolation model, from Load KeySync Model or Load KeyFace Model.",
                ),
                speech_input(),
                *guidance_inputs(),
                io.Latent.Input("identity", optional=True, tooltip=f"For the keyframe model. {IDENTITY_TIP}"),
                io.Latent.Input(
                    "keyframes", optional=True, tooltip="For the interpolation model: the output of the keyframe model."
                ),
                emotion_input(),
                *weak_inputs(),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        speech: Speech | Sound,
        audio_guidance: float,
        identity_guidance: float,
        identity: LatentDict | None = None,
        keyframes: LatentDict | None = None,
        emotion: Emotion | None = None,
        weak_model: ModelPatcher | None = None,
        autoguidance: float = 0.0,
    ) -> io.NodeOutput:
        if keyframes is None and spec_of(model).reference == ENDS:
            raise KeySyncError("the interpolation model needs keyframes: connect the output of the keyframe model")
        guider = make_guider(
            model,
            speech,
            identity=identity,
            keyframes=keyframes,
            emotion=emotion,
            weak_model=weak_model,
            autoguidance=autoguidance,
            audio_guidance=audio_guidance,
            identity_guidance=identity_guidance,
        )
        return io.NodeOutput(guider)


class KeySyncSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncSigmas",
            display_name="KeySync Sigmas",
            category="KeySync",
            description="The noise levels of both stages: the full Align Your Steps table, or a preset's fewer ones.",
            inputs=[
                steps_input(
                    "11 is the method's schedule; 10 matches the core's AlignYourStepsScheduler; more steps "
                    "interpolate it."
                ),
                preset_input(),
            ],
            outputs=[io.Sigmas.Output(tooltip="For Sample Keyframes, Interpolate Keyframes or SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int, preset: str = EXACT) -> io.NodeOutput:
        return io.NodeOutput(make_sampling(preset, steps).sigmas.float())


class Progress:
    """The core's progress bar and latent preview, updated after every group of windows within a step."""

    def __init__(self, guider: LayoutGuider, steps: int, windows: int) -> None:
        self._tell = latent_preview.prepare_callback(guider.model_patcher, steps * windows)
        self._windows, self._total = windows, steps * windows
        self._before = self._within = 0
        guider.on_group = self.group

    def group(self, windows: int, denoised: Tensor) -> None:
        """Some more windows of this step; samplers that look twice in one step wait at its end."""
        self._within = min(self._within + windows, self._windows)
        self._tell(self._before + self._within - 1, denoised, denoised, self._total)

    def step(self, step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
        self._before, self._within = (step + 1) * self._windows, 0


def sample(
    guider: LayoutGuider,
    latent: LatentDict,
    stream: np.random.Generator,
    sampler: comfy.samplers.Sampler | None = None,
    sigmas: Tensor | None = None,
) -> LatentDict:
    """Keyframes or frames of a clip, each window's noise the next of the stream; by default as the method samples."""
    slots = guider.layout(len(latent["samples"])).slots
    shape = (slots.shape[1], *latent["samples"].shape[1:])
    noise = torch.cat([draw(stream, shape) for _ in slots])
    sigmas = make_sampling().sigmas_of(guider.spec).float() if sigmas is None else sigmas
    progress = Progress(guider, len(sigmas) - 1, len(slots))
    samples = guider.sample(
        noise,
        latent["samples"],
        comfy.samplers.sampler_object("euler") if sampler is None else sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=progress.step,
        disable_pbar=True,
        # Of the noise that some samplers add at each step: it too is the stage's own.
        seed=int(stream.integers(2**63)),
    )
    return {"samples": samples.to(comfy.model_management.intermediate_device())}


def _clip_inputs() -> list[Any]:
    return [
        io.Latent.Input(
            "latent",
            tooltip="The face crops from VAE Encode, one latent per frame, with the mouth mask from Set Latent Noise "
            "Mask. For a KeyFace model: the portrait from VAE Encode, without a mask.",
        ),
        seed_input("Seed of the noise. The same seed in both stages gives the same result as on the command line."),
        *guidance_inputs(),
    ]


def _sampler_inputs() -> list[Any]:
    return [
        io.Sampler.Input("sampler", optional=True, tooltip="Any sampler. Without it, Euler is used, as in the paper."),
        io.Sigmas.Input(
            "sigmas", optional=True, tooltip="Noise levels. Without them, those of KeySync Sigmas are used."
        ),
    ]


NODES = [SampleKeyframes, InterpolateKeyframes, KeySyncGuider, KeySyncSigmas]
