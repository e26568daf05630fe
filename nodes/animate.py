"""Animate Portrait: a picture and a sound in, the frames of a talking head out."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..keysync.animate import animate_file
from ..keysync.dub import Settings
from ..keysync.face.detectors import DETECTORS
from ..keysync.face.track import FaceChoice
from ..keysync.job import FaceSource
from ..keysync.media.reader import open_video
from ..keysync.media.source import FramesInMemory
from ..keysync.method import NETWORK_RATE
from ..keysync.progress import Progress
from ..keysync.report import Report
from ..keysync.resume import Work
from ..keysync.systems.keyface.emotion import Emotion
from ..keysync.systems.keyface.models import KeyFaceModels
from ..keysync.systems.keyface.sampling import KeyFaceSampling
from .detector import DETECTOR_TIP, detector_device, detector_weights
from .dub import NodeProgress
from .host.audio import AudioDict
from .host.checks import spec_of
from .host.encoder import CoreSpeechEncoder
from .host.frames import alive
from .host.keyface import core_keyface
from .host.models import notes_of
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import EmotionSocket, SoundSocket, SpeechEncoderSocket
from .host.sound import Sound, encoders_of
from .host.temporary import temporary_video, work_folder
from .host.video import open_sound
from .sampling_inputs import guidance_inputs, scale_input, seed_input, steps_input

log = logging.getLogger(__name__)

HEARING: list[Any] = [SpeechEncoderSocket, SoundSocket]
OWN_REMEDIES = {
    "stages": "choose both in Load KeyFace Model",
    "weak": "choose it as weak_name in Load KeyFace Model",
    "autoguidance": "set autoguidance to 0",
    "emotion": "connect Emotion Curve",
}


class AnimatePortrait(io.ComfyNode):
    """Makes a portrait talk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncAnimatePortrait",
            display_name="Animate Portrait",
            category="KeySync/portrait",
            description="Makes a portrait talk with KeyFace: takes one picture, a sound and an emotion, and returns "
            "the frames of a talking head, as many as the sound lasts. Laughs, sighs and other sounds without words "
            "move the face too.",
            inputs=[
                io.Image.Input(
                    "image", tooltip="A picture with a face in it, of any size. Of several pictures, the first."
                ),
                io.Audio.Input("audio", tooltip="What the portrait says: speech, or other sounds."),
                io.Model.Input("keyframe_model", tooltip="The keyframe model, from Load KeyFace Model."),
                io.Model.Input("interpolation_model", tooltip="The interpolation model, from Load KeyFace Model."),
                io.Vae.Input(
                    "vae",
                    tooltip="The VAE that the models were trained with: Stable Video Diffusion's, from Load "
                    "KeySync VAE or Load VAE.",
                ),
                io.MultiType.Input(
                    "keyframe_encoder",
                    types=HEARING,
                    tooltip="The speech encoder that the keyframe model was trained with, WavLM for the published "
                    "model; or the sound from Encode Sound.",
                ),
                io.MultiType.Input(
                    "interpolation_encoder",
                    types=HEARING,
                    tooltip="The speech encoder that the interpolation model was trained with, wav2vec 2.0 for the "
                    "published model; or the sound from Encode Sound.",
                ),
                *_settings_inputs(),
                SpeechEncoderSocket.Input(
                    "sound_encoder",
                    optional=True,
                    tooltip="What both models hear besides speech: BEATs for the published models. Not needed with "
                    "Encode Sound.",
                ),
                io.Model.Input(
                    "weak_model",
                    optional=True,
                    tooltip="The weaker copy that guides the interpolation, from Load KeyFace Model. Without it, the "
                    "interpolation is not guided.",
                ),
                EmotionSocket.Input("emotion", optional=True, tooltip="From Emotion Curve. Without it, neutral."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames, for Create Video or any other node."),
                io.Audio.Output(display_name="audio", tooltip="The sound, for Create Video."),
                io.Float.Output(display_name="fps", tooltip="The frame rate, for Create Video: 25."),
                io.String.Output(display_name="report", tooltip="What was made and with what, as JSON."),
            ],
        )

    @classmethod
    @remedies(OWN_REMEDIES)
    def execute(
        cls,
        image: Tensor,
        audio: AudioDict,
        keyframe_model: ModelPatcher,
        interpolation_model: ModelPatcher,
        vae: comfy.sd.VAE,
        keyframe_encoder: CoreSpeechEncoder | Sound,
        interpolation_encoder: CoreSpeechEncoder | Sound,
        seed: int,
        steps: int,
        audio_guidance: float,
        identity_guidance: float,
        autoguidance: float,
        detector: str,
        face_index: int,
        whole_picture: bool,
        sound_encoder: CoreSpeechEncoder | None = None,
        weak_model: ModelPatcher | None = None,
        emotion: Emotion | None = None,
    ) -> io.NodeOutput:
        progress = NodeProgress(keyframe_model)
        encoders = [
            *([] if sound_encoder is None else [sound_encoder]),
            *encoders_of(keyframe_encoder, spec_of(keyframe_model), "keyframe_encoder"),
            *encoders_of(interpolation_encoder, spec_of(interpolation_model), "interpolation_encoder"),
        ]
        models = core_keyface(keyframe_model, interpolation_model, weak_model, vae, encoders, progress.preview)
        # 0 selects the model's default, which is None here.
        sampling = KeyFaceSampling(
            evaluations=steps,
            audio_guidance=audio_guidance or None,
            identity_guidance=identity_guidance or None,
            group=models.keyframe.spec.window - 1,  # the guider splits them to fit
            autoguidance=autoguidance or None,
        )
        settings = Settings(seed=seed, sampling=sampling)
        face = FaceSource(FaceChoice(face_index), detector, detector_weights(), device=detector_device())
        feeling = emotion or Emotion.of("neutral")
        images, report = animate(image, audio, models, feeling, settings, face, progress, whole_picture)
        for note in notes_of(models):
            log.warning(note)
            report.notes.append(note)
        return io.NodeOutput(images, audio, float(NETWORK_RATE), report.to_json())


def animate(
    image: Tensor,
    audio: AudioDict,
    models: KeyFaceModels,
    emotion: Emotion,
    settings: Settings,
    face: FaceSource,
    progress: Progress,
    whole_picture: bool,
) -> tuple[Tensor, Report]:
    """The frames (n, h, w, 3) of a talking head, and the report; a job that was cancelled goes on when it is queued
    again.

    Raises `KeySyncError` like `animate_file`.
    """
    output = temporary_video(".mkv")
    try:
        report = animate_file(
            open_portrait(image),
            open_sound(audio),
            output,
            models,
            emotion,
            settings,
            face,
            progress,
            as_original=whole_picture,
            lossless=True,
            work=Work(work_folder()),
        )
        return read_frames(output, report.frames, models.needs.crop_size), report
    finally:
        output.unlink(missing_ok=True)


def open_portrait(images: Tensor) -> FramesInMemory:
    """The first of some pictures (n, h, w, c): grey ones as colours, transparent ones over white.

    Raises `KeySyncError` where there is none.
    """
    picture = images[:1].float().cpu()
    channels = picture.shape[-1]
    if channels in (2, 4):
        alpha = picture[..., -1:]
        picture = picture[..., :-1] * alpha + 1 - alpha
    colours = picture.expand(-1, -1, -1, 3) if channels < 3 else picture
    return FramesInMemory("the picture", colours, Fraction(NETWORK_RATE))


def read_frames(path: Path, count: int, size: tuple[int, int]) -> Tensor:
    """The frames of a lossless video as IMAGE (count, h, w, 3); `size` is (h, w)."""
    images = torch.empty(count, *size, 3)
    for image, (_, frame) in zip(images, open_video(path).frames(), strict=True):
        alive()
        image.copy_(torch.from_numpy(frame)).div_(255)
    return images


def _settings_inputs() -> list[Any]:
    """What a person chooses; the defaults are the method's."""
    return [
        seed_input(),
        steps_input(),
        *guidance_inputs(),
        scale_input(
            "autoguidance",
            "How strongly the weaker copy guides the frames between keyframes. 0 uses the model's default (2 for the "
            "published model), or 1 without weak_model.",
        ),
        io.Combo.Input("detector", options=list(DETECTORS), default="mediapipe", tooltip=DETECTOR_TIP),
        io.Int.Input(
            "face_index",
            default=0,
            min=0,
            max=63,
            tooltip="Which face to animate: 0 is the largest in the picture, 1 the second largest, and so on.",
        ),
        io.Boolean.Input(
            "whole_picture",
            default=False,
            extra_dict={"advanced": True},  # ComfyUI 0.8 takes no argument of that name
            tooltip="Squash the whole picture to a square, as the original does, and look for no face. For pictures "
            "that are cropped already.",
        ),
    ]


NODES: list[type[io.ComfyNode]] = [AnimatePortrait]
