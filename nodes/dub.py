"""Dub Video: the whole method in one node, chunk by chunk, in memory that does not grow with the video's length."""

from __future__ import annotations

import logging
import time
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import Input, InputImpl, io
from torch import Tensor

from ..keysync.allocator import return_memory
from ..keysync.cache import Cache
from ..keysync.choice import explain
from ..keysync.dub import Settings
from ..keysync.errors import KeySyncError
from ..keysync.face.detectors import DETECTORS
from ..keysync.face.masks import MASKS
from ..keysync.face.track import FaceChoice
from ..keysync.job import FaceSource, dub_file
from ..keysync.media.source import FrameSource
from ..keysync.progress import Moment, Progress
from ..keysync.report import Report
from ..keysync.resume import Work
from ..keysync.speakers import dub_speakers
from ..keysync.summary import summarize
from ..keysync.systems.keysync.presets import EXACT, make_sampling
from ..keysync.systems.renderer import Renderer
from ..keysync.timeline import SYNC_MODES
from .audio import DEFAULT_SYNC_MODE, SYNC_TIP
from .detector import DETECTOR_TIP, detector_device, detector_weights
from .host.audio import AudioDict
from .host.encoder import CoreSpeechEncoder
from .host.models import core_models, notes_of
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket, Speakers, SpeakersSocket, SpeechEncoderSocket
from .host.temporary import temporary_video, work_folder
from .host.video import open_occluder, open_sound, open_video
from .sampling_inputs import guidance_inputs, preset_input, seed_input, steps_input

log = logging.getLogger(__name__)

AS_TRAINED = "as trained"
# Of the progress bar.
PARTS = 1000
# Seconds after which free memory is returned again: it takes some milliseconds.
RETURNED_EVERY = 5.0


class DubVideo(io.ComfyNode):
    """Dubs a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncDubVideo",
            display_name="Dub Video (Lip Sync)",
            category="KeySync",
            description="Dubs a video: takes a video and new speech, and returns the video with lips that follow the "
            "speech. Takes any length, size and frame rate; memory use does not grow with the length.",
            inputs=[
                io.Video.Input("video", tooltip="The video to dub. One face in it is dubbed, or those of Speakers."),
                audio_input(),
                io.Model.Input("keyframe_model", tooltip="The keyframe model, from Load KeySync Model."),
                io.Model.Input("interpolation_model", tooltip="The interpolation model, from Load KeySync Model."),
                io.Vae.Input(
                    "vae", tooltip="The VAE that the models were trained with, from Load KeySync VAE or Load VAE."
                ),
                SpeechEncoderSocket.Input(
                    "keyframe_encoder",
                    tooltip="The speech encoder that the keyframe model was trained with: HuBERT for the published "
                    "model, keysync-small-hubert for the built-in one.",
                ),
                SpeechEncoderSocket.Input(
                    "interpolation_encoder",
                    tooltip="The speech encoder that the interpolation model was trained with: WavLM for the published "
                    "model, keysync-small-hubert for the built-in one.",
                ),
                *_settings_inputs(),
                preset_input(),
                quiet_input(),
                *face_inputs(),
                find_input(),
                align_input(),
            ],
            outputs=dub_outputs(),
        )

    @classmethod
    @remedies()
    def execute(
        cls,
        video: Input.Video,
        audio: AudioDict | Speakers,
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
        provenance: bool = True,
        preset: str = EXACT,
        track: Faces | None = None,
        occluder: Tensor | Input.Video | None = None,
        quiet_mouth: bool = False,
        find_occluder: bool = False,
        align: bool = False,
    ) -> io.NodeOutput:
        progress = NodeProgress(keyframe_model)
        models = core_models(
            keyframe_model, interpolation_model, vae, keyframe_encoder, interpolation_encoder, progress.preview
        )
        group = models.keyframe.spec.window - 1  # all windows of a batch of keyframes: the guider splits them to fit
        # 0 selects the model's default, which is None here.
        sampling = make_sampling(preset, steps, audio_guidance or None, identity_guidance or None, group)
        settings = Settings(
            sync_mode,
            None if mask == AS_TRAINED else mask,
            seed,
            sampling,
            provenance=provenance,
            quiet_mouth=quiet_mouth,
            align=align,
        )
        face = face_source(face_index, detector, track)
        result, report = dub(video, audio, models, settings, face, progress, open_occluder(occluder, find_occluder))
        for note in notes_of(models):
            log.warning(note)
            report.notes.append(note)
        return io.NodeOutput(result, report.to_json(), summarize(report, face))


def dub(
    video: Input.Video,
    audio: AudioDict | Speakers,
    renderer: Renderer,
    settings: Settings,
    face: FaceSource,
    progress: Progress,
    occluder: FrameSource | str | None = None,
) -> tuple[Input.Video, Report]:
    """The dubbed video, a file in ComfyUI's temporary folder, and the report. The node of every system ends here.

    The file says that its lips are synthetic, unless `settings.provenance` is off. A job that was cancelled, or whose
    ComfyUI was killed, goes on when it is queued again.

    Raises `KeySyncError` like `dub_file` and `dub_speakers`.
    """
    output = temporary_video()
    return_memory()  # what the nodes before left, above all the one that read the sound
    if isinstance(audio, Speakers):
        if face.track is not None:
            raise KeySyncError("track is of one face and audio of several: disconnect track, or connect one voice")
        report = dub_speakers(
            open_video(video),
            audio.people,
            output,
            renderer,
            settings,
            face,
            progress,
            occluder=occluder,
            work=Work(work_folder()),
        )
        if face.choice.index:
            report.notes.append(f"face_index {face.choice.index} has no effect: each Speaker has its own face")
        return InputImpl.VideoFromFile(str(output)), report
    report = dub_file(
        open_video(video),
        open_sound(audio),
        output,
        renderer,
        settings,
        face,
        progress,
        occluder=occluder,
        cache=Cache(output.parent / "keysync-cache"),
        work=Work(work_folder()),
    )
    return InputImpl.VideoFromFile(str(output)), report


class NodeProgress:
    """The node's progress bar, with the preview of a model's latents; stops the job when the user cancels, and returns
    free memory to the system meanwhile."""

    def __init__(self, patcher: ModelPatcher | None = None) -> None:
        self._previewer = (
            latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format) if patcher else None
        )
        self._bar = comfy.utils.ProgressBar(PARTS)
        self._denoised: Tensor | None = None
        self._phase, self._returned = "", 0.0

    def preview(self, denoised: Tensor) -> None:
        """Sets the preview of the next step: the first of these latents (n, 4, h, w)."""
        self._denoised = denoised

    def show(self, moment: Moment) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        now = time.monotonic()
        if moment.phase != self._phase or now >= self._returned + RETURNED_EVERY:
            return_memory()  # what following and hearing left between what stays, and what frames and latents leave
            self._phase, self._returned = moment.phase, now
        preview = None
        if self._previewer is not None and self._denoised is not None:
            preview = self._previewer.decode_latent_to_preview_image("JPEG", self._denoised)
        self._denoised = None
        self._bar.update_absolute(round(PARTS * moment.share), preview=preview)

    def say(self, line: str) -> None:
        log.info(line)


def _settings_inputs() -> list[Any]:
    """What a person chooses; the defaults are the method's."""
    return [
        sync_input(),
        io.Combo.Input(
            "mask",
            options=[AS_TRAINED, *MASKS],
            default=AS_TRAINED,
            tooltip=explain(
                f"The region to generate.\n{AS_TRAINED}: the mask stored in the file of the keyframe model, else box",
                MASKS,
            ),
        ),
        seed_input(),
        steps_input(),
        *guidance_inputs(),
        *detector_inputs(),
    ]


def face_source(index: int, detector: str, track: Faces | None) -> FaceSource:
    """Which face is dubbed, by the inputs of `detector_inputs` and `face_inputs`."""
    return FaceSource(
        FaceChoice(index),
        detector,
        detector_weights(),
        track=None if track is None else track.track,
        device=detector_device(),
    )


def audio_input() -> Any:
    """What is said, by one person or by several."""
    return io.MultiType.Input(
        "audio", types=[io.Audio, SpeakersSocket], tooltip="The new speech, or Speakers to dub several people."
    )


def sync_input() -> Any:
    """What to do with lengths that differ."""
    return io.Combo.Input("sync_mode", options=list(SYNC_MODES), default=DEFAULT_SYNC_MODE, tooltip=SYNC_TIP)


def quiet_input() -> Any:
    """Whether the mouth is closed in the pauses of the speech."""
    return io.Boolean.Input(
        "quiet_mouth",
        default=False,
        optional=True,  # workflows of older versions lack it
        extra_dict={"advanced": True},  # ComfyUI 0.8 takes no argument of that name
        tooltip="Close the mouth wherever the speech pauses, whatever else sounds there, such as breath or noise.",
    )


def find_input() -> Any:
    """Whether what covers the mouth is found in the video."""
    return io.Boolean.Input(
        "find_occluder",
        default=False,
        optional=True,  # workflows of older versions lack it
        extra_dict={"advanced": True},  # ComfyUI 0.8 takes no argument of that name
        tooltip="Find what covers the mouth, such as a hand or a microphone, and leave it as it is. The report says in "
        "which frames something was found. Leave occluder unconnected.",
    )


def align_input() -> Any:
    """Whether crops are turned with the head."""
    return io.Boolean.Input(
        "align",
        default=False,
        optional=True,  # workflows of older versions lack it
        extra_dict={"advanced": True},  # ComfyUI 0.8 takes no argument of that name
        tooltip="Turn the crops with the head, so that the eyes are level: for tilted heads. The report says by how "
        "much.",
    )


def detector_inputs() -> list[Any]:
    """Which face is dubbed, and whether the result says so."""
    return [
        io.Combo.Input(
            "detector",
            options=list(DETECTORS),
            default="mediapipe",
            tooltip=DETECTOR_TIP,
        ),
        io.Int.Input(
            "face_index",
            default=0,
            min=0,
            max=63,
            tooltip="Which face to dub: 0 is the largest in each shot, 1 the second largest, and so on.",
        ),
        io.Boolean.Input(
            "provenance",
            default=True,
            optional=True,  # workflows of older versions lack it
            extra_dict={"advanced": True},  # ComfyUI 0.8 takes no argument of that name
            tooltip="Say in the metadata of the result that its lips are synthetic and which models made them.",
        ),
    ]


def face_inputs() -> list[Any]:
    """What other nodes know of the face."""
    return [
        FaceTrackSocket.Input(
            "track",
            optional=True,
            tooltip="From Track Face, run on the frames of this video. If connected, it replaces the detector.",
        ),
        io.MultiType.Input(
            "occluder",
            types=[io.Mask, io.Video],
            optional=True,
            tooltip="White where something covers the face: one mask per frame or one for all, at the size of the "
            "video, or a mask video. From Track Occluder or any other segmentation node.",
        ),
    ]


def dub_outputs() -> list[Any]:
    return [
        io.Video.Output(display_name="video", tooltip="The dubbed video with the new audio, for Save Video."),
        io.String.Output(display_name="report", tooltip="What happened to each frame, as JSON."),
        io.String.Output(
            display_name="summary",
            tooltip="The report in sentences: which face, how many frames, what is unchanged and why, which models.",
        ),
    ]


NODES: list[type[io.ComfyNode]] = [DubVideo]
