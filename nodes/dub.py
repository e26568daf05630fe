"""Dub Video: the whole method in one node, chunk by chunk, in memory that does not grow with the video's length."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import Input, InputImpl, io
from torch import Tensor

from ..keysync.dub import Settings
from ..keysync.face.detectors import DETECTORS
from ..keysync.face.masks import MASKS
from ..keysync.face.track import FaceChoice
from ..keysync.job import FaceSource, dub_file
from ..keysync.network.schedule import AYS
from ..keysync.report import Report
from ..keysync.systems.keysync.generate import Sampling
from ..keysync.systems.keysync.models import Models
from ..keysync.timeline import SYNC_MODES
from .audio import DEFAULT_SYNC_MODE, SYNC_TIP
from .detector import detector_device, detector_weights
from .host.audio import AudioDict
from .host.encoder import CoreSpeechEncoder
from .host.models import core_models
from .host.remedies import remedies
from .host.sockets import Faces, FaceTrackSocket, SpeechEncoderSocket
from .host.video import open_occluder, open_sound, open_video
from .sampling import guidance_inputs

AS_TRAINED = "as trained"


class DubVideo(io.ComfyNode):
    """Dubs a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KeySyncDubVideo",
            display_name="Dub Video",
            category="KeySync",
            description="Dubs a video: new speech in, lips that follow it out. Works through videos of any length, "
            "size and frame rate with the memory of a short one.",
            inputs=[
                io.Video.Input("video", tooltip="The video to dub, with one face to follow."),
                io.Audio.Input("audio", tooltip="The new speech."),
                io.Model.Input("keyframe_model", tooltip="The keyframe model, from Load KeySync Model."),
                io.Model.Input("interpolation_model", tooltip="The interpolation model, from Load KeySync Model."),
                io.Vae.Input(
                    "vae", tooltip="The VAE that the models were trained with, from Load KeySync VAE or Load VAE."
                ),
                SpeechEncoderSocket.Input(
                    "keyframe_encoder",
                    tooltip="The speech encoder that the keyframe model was trained with: HuBERT if published, "
                    "keysync-small-hubert if built in.",
                ),
                SpeechEncoderSocket.Input(
                    "interpolation_encoder",
                    tooltip="The speech encoder that the interpolation model was trained with: WavLM if published, "
                    "keysync-small-hubert if built in.",
                ),
                *_settings_inputs(),
                FaceTrackSocket.Input(
                    "track",
                    optional=True,
                    tooltip="From Track Face on this video's own frames: then no detector is loaded.",
                ),
                io.MultiType.Input(
                    "occluder",
                    types=[io.Mask, io.Video],
                    optional=True,
                    tooltip="White where something stands before the face, as many and as large as the video's frames: "
                    "from Track Occluder or any other segmenter, or as a video.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The dubbed video with its new sound, for Save Video."),
                io.String.Output(display_name="report", tooltip="What happened to which frames, as JSON."),
            ],
        )

    @classmethod
    @remedies()
    def execute(
        cls,
        video: Input.Video,
        audio: AudioDict,
        keyframe_model: ModelPatcher,
        interpolation_model: ModelPatcher,
        vae: comfy.sd.VAE,
        keyframe_encoder: CoreSpeechEncoder,
        interpolation_encoder: CoreSpeechEncoder,
        sync_mode: str,
        mask: str,
        seed: int,
        steps: int,
        audio_guidance: float,
        identity_guidance: float,
        detector: str,
        face_index: int,
        track: Faces | None = None,
        occluder: Tensor | Input.Video | None = None,
    ) -> io.NodeOutput:
        progress = NodeProgress(keyframe_model)
        models = core_models(
            keyframe_model, interpolation_model, vae, keyframe_encoder, interpolation_encoder, progress.show
        )
        group = models.keyframe.spec.window - 1  # all windows of a batch of keyframes: the guider splits them to fit
        # 0 selects the model's default, which is None here.
        sampling = Sampling(steps, audio_guidance or None, identity_guidance or None, group=group)
        settings = Settings(sync_mode, None if mask == AS_TRAINED else mask, seed, sampling)
        face = FaceSource(
            FaceChoice(face_index),
            detector,
            detector_weights(),
            track=None if track is None else track.track,
            device=detector_device(),
        )
        result, report = dub(video, audio, models, settings, face, progress, occluder)
        return io.NodeOutput(result, json.dumps(report.to_dict(), indent=1, ensure_ascii=False))


def dub(
    video: Input.Video,
    audio: AudioDict,
    models: Models,
    settings: Settings,
    face: FaceSource,
    progress: NodeProgress,
    occluder: Tensor | Input.Video | None = None,
) -> tuple[Input.Video, Report]:
    """The dubbed video, a file in ComfyUI's temporary folder, and the report; raises `KeySyncError` like `dub_file`."""
    temporary = Path(folder_paths.get_temp_directory())
    temporary.mkdir(parents=True, exist_ok=True)
    output = temporary / f"keysync-{secrets.token_hex(8)}.mp4"
    report = dub_file(
        open_video(video),
        open_sound(audio),
        output,
        models,
        settings,
        face,
        progress,
        occluder=open_occluder(occluder),
    )
    return InputImpl.VideoFromFile(str(output)), report


class NodeProgress:
    """The node's progress bar with the latent preview; stops the job when the user cancels."""

    def __init__(self, patcher: ModelPatcher) -> None:
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        self._bar = comfy.utils.ProgressBar(1)
        self._denoised: Tensor | None = None

    def begin(self, what: str, total: int | None) -> None:
        self._bar = comfy.utils.ProgressBar(max(1, total or 1))

    def show(self, denoised: Tensor) -> None:
        """Sets the preview of the next step: the first of these latents (n, 4, h, w)."""
        self._denoised = denoised

    def step(self, count: int = 1) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        preview = None
        if self._previewer is not None and self._denoised is not None:
            preview = self._previewer.decode_latent_to_preview_image("JPEG", self._denoised)
        self._denoised = None
        self._bar.update_absolute(min(self._bar.current + count, self._bar.total), preview=preview)

    def end(self) -> None:
        pass


def _settings_inputs() -> list[Any]:
    """What a person chooses; the defaults are the method's."""
    return [
        io.Combo.Input("sync_mode", options=list(SYNC_MODES), default=DEFAULT_SYNC_MODE, tooltip=SYNC_TIP),
        io.Combo.Input(
            "mask",
            options=[AS_TRAINED, *MASKS],
            default=AS_TRAINED,
            tooltip="What is generated anew. as trained: what the keyframe model's file says, or box. "
            "box: nose bridge to lower edge, as wide as the face (the method's own). "
            "full: the same over the whole width. mouth: nose bridge to just below the chin. face: around the jaw's "
            "points. jaw: the face below the nose bridge.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Chooses the noise. The same number gives what the command line gives.",
        ),
        io.Int.Input(
            "steps",
            default=len(AYS),
            min=len(AYS) - 1,
            max=1000,
            tooltip="Sampling steps: 11 as published, 10 a little faster; more are interpolated.",
        ),
        *guidance_inputs(),
        io.Combo.Input(
            "detector",
            options=list(DETECTORS),
            default="mediapipe",
            tooltip="What finds the faces. mediapipe is built in. face-alignment is the method's own: it needs its "
            "package, and its two weight files in models/face_alignment.",
        ),
        io.Int.Input(
            "face_index",
            default=0,
            min=0,
            max=63,
            tooltip="Whose face: 0 is the largest of each shot, 1 the second largest, and so on.",
        ),
    ]


NODES: list[type[io.ComfyNode]] = [DubVideo]
