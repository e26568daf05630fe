"""Nodes of FlashLips: its file, lips vectors from speech and from video, edited, and drawn; and a dub in one node."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.sd
import numpy as np
import torch
from comfy_api.latest import Input, io
from torch import Tensor

from ..keysync.dub import Settings
from ..keysync.errors import KeySyncError
from ..keysync.media.audio import hear
from ..keysync.method import PIXELS_PER_LATENT
from ..keysync.network.stage import SCALE_FACTOR
from ..keysync.summary import summarize
from ..keysync.systems.flashlips.models import FlashLips
from ..keysync.systems.flashlips.networks import MOST_REFERENCES
from ..keysync.systems.flashlips.render import Drawn, speech_evaluations
from ..keysync.systems.flashlips.settings import Drawing
from ..keysync.systems.flashlips.small import FLASHLIPS_SMALL
from ..keysync.systems.flashlips.steps import edit_crops, edit_latents, vectors_of_crops, vectors_of_speech
from ..keysync.systems.flashlips.vectors import LipsVectors
from ..keysync.systems.renderer import Unchanged
from .dub import (
    NodeProgress,
    align_input,
    audio_input,
    detector_inputs,
    dub,
    dub_outputs,
    face_inputs,
    face_source,
    find_input,
    quiet_input,
    sync_input,
)
from .host.audio import AudioDict
from .host.checks import frame_rate, want_finite, want_number
from .host.encoder import CoreSpeechEncoder
from .host.flashlips import load
from .host.frames import as_masks
from .host.frames import steps as progress
from .host.model import model_path, own_files
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import (
    Faces,
    FaceTrackSocket,
    FlashLipsSocket,
    LipsVectorsSocket,
    Speakers,
    SpeechEncoderSocket,
)
from .host.vae import check_latents
from .host.video import open_occluder, open_sound
from .lips import PART, fps_input, timing_inputs
from .mouths import describe
from .sampling_inputs import seed_input

log = logging.getLogger(__name__)

AS_TRAINED = "as trained"
# Whether the mouth of the source is seen by the editor, by the choices of the nodes; None: as the file says.
MOUTHS: dict[str, bool | None] = {AS_TRAINED: None, "hidden": False, "drawn over": True}
CROPS_TIP = "From Crop Face, with Load FlashLips connected to its model."
OWN = {
    "crops": "connect Load FlashLips to model in Crop Face",
    "lips": "make the lips vectors with this FlashLips, from speech that went through Fit Audio",
}


class LoadFlashLips(io.ComfyNode):
    """Loads FlashLips."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLoadFlashLips",
            display_name="Load FlashLips",
            category="KeySync/flashlips",
            description="Loads FlashLips, which draws each frame in one pass: its editor, its reader of lips vectors "
            "and its speech transformer, all in one file.",
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=list(dict.fromkeys((FLASHLIPS_SMALL.name, *own_files()))),
                    tooltip="FlashLips small, built in, or a FlashLips file in models/keysync, models/diffusion_models "
                    "or models/checkpoints.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE that the file was trained with, from Load KeySync VAE or Load VAE. Needed only if "
                    "it is neither in the file nor built in.",
                ),
                SpeechEncoderSocket.Input(
                    "encoder",
                    optional=True,
                    tooltip="The speech encoder that the file was trained with, from Load Speech Encoder. Needed only "
                    "if it is not built in.",
                ),
            ],
            outputs=[
                FlashLipsSocket.Output(
                    display_name="flashlips",
                    tooltip="For Dub with FlashLips, Lips Vectors from Speech, Lips Vectors from Video or FlashLips "
                    "Edit.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls, model_name: str, vae: comfy.sd.VAE | None = None, encoder: CoreSpeechEncoder | None = None
    ) -> str:
        stat = _file(model_name).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    @remedies(OWN)
    def execute(
        cls, model_name: str, vae: comfy.sd.VAE | None = None, encoder: CoreSpeechEncoder | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(load(_file(model_name), vae, encoder))


def _file(name: str) -> Path:
    """Where an offered file lies. Raises `KeySyncError` if it has gone."""
    return FLASHLIPS_SMALL if name == FLASHLIPS_SMALL.name else model_path(name)


class LipsVectorsFromSpeech(io.ComfyNode):
    """Makes lips vectors from speech."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLipsVectorsFromSpeech",
            display_name="Lips Vectors from Speech",
            category="KeySync/flashlips",
            description="Makes from speech what the lips do in each frame, in the manner of the person in the crops: a "
            "few numbers a frame, which FlashLips Edit draws.",
            inputs=[
                FlashLipsSocket.Input("flashlips", tooltip="From Load FlashLips."),
                io.Audio.Input("audio", tooltip="The new speech from Fit Audio, as long as the frames."),
                fps_input("Frame rate of the video, from Fit Audio."),
                io.Image.Input("crops", tooltip=f"{CROPS_TIP} Some of them show how the person speaks."),
                seed_input("Seed of the lips: another one is a different take."),
                steps_input(),
            ],
            outputs=[_vectors_output()],
        )

    @classmethod
    @remedies(OWN)
    def execute(
        cls, flashlips: FlashLips, audio: AudioDict, fps: float, crops: Tensor, seed: int, steps: int
    ) -> io.NodeOutput:
        rate = float(frame_rate(fps))
        want_finite(crops, "crops")
        heard = hear(open_sound(audio))
        for note in heard.notes:
            log.warning(note)
        times = np.arange(max(1, math.ceil(heard.seconds * rate - PART))) / rate
        rows = flashlips.encoders[flashlips.spec.speech_encoder].encode(heard.samples).at(times)
        count = steps or flashlips.spec.steps
        follow = progress(speech_evaluations(count, len(rows), flashlips))
        return io.NodeOutput(
            vectors_of_speech(flashlips, rows, rate, crops[..., :3].cpu(), seed, count, on_step=follow)
        )


class LipsVectorsFromVideo(io.ComfyNode):
    """Reads lips vectors from a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLipsVectorsFromVideo",
            display_name="Lips Vectors from Video",
            category="KeySync/flashlips",
            description="Reads from the crops of a video what the lips do in each frame, so that another face can "
            "repeat it.",
            inputs=[
                FlashLipsSocket.Input("flashlips", tooltip="From Load FlashLips."),
                io.Image.Input("crops", tooltip=CROPS_TIP),
                fps_input("Frame rate of the crops, from Get Video Components."),
            ],
            outputs=[_vectors_output()],
        )

    @classmethod
    @remedies(OWN)
    def execute(cls, flashlips: FlashLips, crops: Tensor, fps: float) -> io.NodeOutput:
        want_finite(crops, "crops")
        return io.NodeOutput(vectors_of_crops(flashlips, crops[..., :3].cpu(), float(frame_rate(fps))))


class EditLipsVectors(io.ComfyNode):
    """Edits lips vectors."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncEditLipsVectors",
            display_name="Edit Lips Vectors",
            category="KeySync/flashlips",
            description="Edits lips vectors: blended with others, smoother, still for a while, earlier or later. The "
            "edits are made in the order of the inputs.",
            inputs=[
                LipsVectorsSocket.Input("vectors", tooltip="From Lips Vectors from Speech or Lips Vectors from Video."),
                io.Float.Input(
                    "share",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the other vectors is blended in: 0 none, 1 nothing else. Has an effect only "
                    "if other is connected.",
                ),
                *timing_inputs("the vectors"),
                LipsVectorsSocket.Input(
                    "other",
                    optional=True,
                    tooltip="Lips vectors of the same FlashLips file to blend in, read at the same times.",
                ),
            ],
            outputs=[_vectors_output()],
        )

    @classmethod
    @remedies(OWN)
    def execute(
        cls,
        vectors: LipsVectors,
        share: float,
        smoothing: float,
        hold_from: int,
        hold_frames: int,
        shift: float,
        other: LipsVectors | None = None,
    ) -> io.NodeOutput:
        for name, value in zip(("share", "smoothing", "shift"), (share, smoothing, shift), strict=True):
            want_number(name, value)
        blended = vectors if other is None else vectors.blended(other, share)
        return io.NodeOutput(blended.smoothed(smoothing).held(hold_from, hold_frames).shifted(shift))


class FlashLipsEdit(io.ComfyNode):
    """Draws lips vectors into crops."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncFlashLipsEdit",
            display_name="FlashLips Edit",
            category="KeySync/flashlips",
            description="Draws the mouth of each crop anew, with the lips of its vector. Takes any number of crops, "
            "which do not see each other; each shot lends its own references.",
            inputs=[
                FlashLipsSocket.Input("flashlips", tooltip="The one that made the lips vectors, from Load FlashLips."),
                io.MultiType.Input(
                    "crops",
                    types=[io.Image, io.Latent],
                    tooltip=f"{CROPS_TIP} Or their latents: of whole crops if the mouth is drawn over, else from VAE "
                    "Encode (for Inpainting) with the mask of Mouth Mask.",
                ),
                LipsVectorsSocket.Input("vectors", tooltip="The lips to draw, as long as the crops."),
                mouth_input(),
                references_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="From Mouth Mask: the region that is hidden from the editor. One per frame or one for all. "
                    "Needed unless the mouth is drawn over, or latents have it as their noise mask.",
                ),
                FaceTrackSocket.Input(
                    "track",
                    optional=True,
                    tooltip="From Crop Face: where shots begin, and which frames show no face and stay unchanged.",
                ),
                io.Image.Input(
                    "reference_crops",
                    optional=True,
                    tooltip="Crops of the same person to take references from, instead of those of each shot. Needed "
                    "for latents.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="crops", tooltip="The crops with new mouths, for Paste Face."),
                io.String.Output(
                    display_name="report", tooltip="How many frames have a new mouth, and why the others are unchanged."
                ),
                io.Latent.Output(
                    display_name="latents",
                    tooltip="The same crops as latents, for VAE Decode, a sampler or an upscaler.",
                ),
            ],
        )

    @classmethod
    @remedies(OWN)
    def execute(
        cls,
        flashlips: FlashLips,
        crops: Tensor | dict[str, Any],
        vectors: LipsVectors,
        mouth: str,
        references: int,
        mask: Tensor | None = None,
        track: Faces | None = None,
        reference_crops: Tensor | None = None,
    ) -> io.NodeOutput:
        settings = Drawing(references=references, mask_free=MOUTHS[mouth])
        sources = sources_of(crops, mask)
        count = len(sources.pictures)
        if track is not None and len(track.track.found) != count:
            raise KeySyncError(
                f"there are {count} crops but the track covers {len(track.track.found)} frames: connect both from "
                "the same Crop Face"
            )
        followed = None if track is None else track.track
        own = None if reference_crops is None else reference_crops[..., :3].cpu()
        given = (flashlips, sources.pictures.clone(), sources.masks, vectors, settings)
        if not sources.encoded:
            made = edit_crops(*given, followed, own, progress(count))
        elif own is None:
            raise KeySyncError("latents show no person: connect crops to reference_crops")
        else:
            made = edit_latents(*given, own, followed, progress(count))
        drawn: list[Drawn] = []
        unchanged: dict[str, list[int]] = {}
        for number, one in enumerate(made):
            if isinstance(one, Unchanged):
                unchanged.setdefault(one.reason, []).append(number)
                one = sources.unchanged(flashlips, number)
            drawn.append(one)
        pictures, latents = (torch.stack(part) for part in zip(*drawn, strict=True))
        said = flashlips.following(vectors).remarks(settings)
        report = "\n".join([describe(count, unchanged), *said])
        return io.NodeOutput(pictures, report, {"samples": latents / SCALE_FACTOR})


class DubWithFlashLips(io.ComfyNode):
    """Dubs a video with FlashLips."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncFlashLipsDub",
            display_name="Dub with FlashLips",
            category="KeySync/flashlips",
            description="Dubs a video with FlashLips: takes a video and new speech, and returns the video with lips "
            "that follow the speech. Takes any length, size and frame rate; memory use does not grow with the length.",
            inputs=[
                io.Video.Input("video", tooltip="The video to dub. One face in it is dubbed, or those of Speakers."),
                audio_input(),
                FlashLipsSocket.Input("flashlips", tooltip="From Load FlashLips."),
                mouth_input(),
                references_input(),
                seed_input("Seed of the lips: another one is a different take."),
                steps_input(),
                sync_input(),
                *detector_inputs(),
                quiet_input(),
                *face_inputs(),
                LipsVectorsSocket.Input(
                    "vectors",
                    optional=True,
                    tooltip="Lips vectors to follow instead of the audio, from Lips Vectors from Video or Edit Lips "
                    "Vectors: the performance of another video, for example.",
                ),
                find_input(),
                align_input(),
            ],
            outputs=dub_outputs(),
        )

    @classmethod
    @remedies(OWN)
    def execute(
        cls,
        video: Input.Video,
        audio: AudioDict | Speakers,
        flashlips: FlashLips,
        mouth: str,
        references: int,
        seed: int,
        steps: int,
        sync_mode: str,
        detector: str,
        face_index: int,
        provenance: bool = True,
        track: Faces | None = None,
        occluder: Tensor | Input.Video | None = None,
        vectors: LipsVectors | None = None,
        quiet_mouth: bool = False,
        find_occluder: bool = False,
        align: bool = False,
    ) -> io.NodeOutput:
        if vectors is not None and isinstance(audio, Speakers):
            raise KeySyncError(
                "lips vectors are of one voice and audio of several: disconnect vectors, or connect one voice"
            )
        face = face_source(face_index, detector, track)
        settings = Settings(
            sync_mode,
            seed=seed,
            sampling=Drawing(steps or None, references, MOUTHS[mouth]),
            provenance=provenance,
            quiet_mouth=quiet_mouth,
            align=align,
        )
        renderer = flashlips if vectors is None else flashlips.following(vectors)
        result, report = dub(
            video, audio, renderer, settings, face, NodeProgress(), open_occluder(occluder, find_occluder)
        )
        return io.NodeOutput(result, report.to_json(), summarize(report, face))


@dataclass(frozen=True, eq=False)
class Sources:
    """What is edited: crops (n, H, W, 3), 0..1, or latents (n, 4, h, w) where they are `encoded`; and the masks
    (n, H, W) of their mouths, None without any."""

    pictures: Tensor
    masks: Tensor | None
    encoded: bool

    def unchanged(self, flashlips: FlashLips, number: int) -> Drawn:
        """A frame that stays as it is, as a picture and as a latent: one of them is given."""
        source, vae = self.pictures[number], flashlips.vae
        if self.encoded:
            return Drawn(vae.decode(source[None])[0].float().cpu(), source)
        return Drawn(source, vae.encode(source[None])[0].float().cpu())


def sources_of(crops: Tensor | dict[str, Any], mask: Tensor | None) -> Sources:
    """What an IMAGE or a LATENT holds; a LATENT's noise mask stands for a mask that is not given.

    Raises `KeySyncError` for latents of no picture, and for masks of another size or number.
    """
    encoded = isinstance(crops, dict)
    if isinstance(crops, dict):
        latents = crops["samples"]
        check_latents(latents)
        want_finite(latents, "crops")
        mask = crops.get("noise_mask") if mask is None else mask
        pictures = latents.float().cpu() * SCALE_FACTOR
        size = tuple(PIXELS_PER_LATENT * side for side in latents.shape[2:])
    else:
        want_finite(crops, "crops")
        pictures, size = crops[..., :3].cpu(), tuple(crops.shape[1:3])
    return Sources(pictures, None if mask is None else _masks_of(mask, len(pictures), size), encoded)


def _masks_of(mask: Tensor, count: int, size: tuple[int, ...]) -> Tensor:
    """One mask for each of so many crops of `size` (H, W). Raises `KeySyncError` for masks of another size or
    number."""
    want_finite(mask, "mask")
    masks = as_masks(mask).cpu()
    if tuple(masks.shape[1:]) != size or len(masks) not in (1, count):
        raise KeySyncError(
            f"there are {len(masks)} masks of {masks.shape[2]}x{masks.shape[1]} but {count} crops of "
            f"{size[1]}x{size[0]}: connect Mouth Mask, with the track of Crop Face"
        )
    return (masks > 0.5).float().expand(count, -1, -1)


def mouth_input() -> Any:
    """Whether the source's own mouth is hidden."""
    return io.Combo.Input(
        "mouth",
        options=list(MOUTHS),
        default=AS_TRAINED,
        tooltip="What the editor sees of the source's own mouth.\n"
        f"{AS_TRAINED}: as the file is best used\n"
        "hidden: nothing; the mouth is drawn into the mask\n"
        "drawn over: all of it; for files that were refined to work without a mask",
    )


def references_input() -> Any:
    """How many references are used."""
    return io.Int.Input(
        "references",
        default=MOST_REFERENCES,
        min=1,
        max=MOST_REFERENCES,
        tooltip="How many frames of the same person the editor looks at. More keep the identity better.",
    )


def steps_input() -> Any:
    """How many steps lead from speech to lips."""
    return io.Int.Input(
        "steps", default=0, min=0, max=1000, tooltip="Steps from speech to lips vectors. 0 uses the file's default."
    )


def _vectors_output() -> Any:
    return LipsVectorsSocket.Output(
        display_name="vectors", tooltip="For Edit Lips Vectors, FlashLips Edit or Dub with FlashLips."
    )


NODES: list[type[io.ComfyNode]] = [
    LoadFlashLips,
    LipsVectorsFromSpeech,
    LipsVectorsFromVideo,
    EditLipsVectors,
    FlashLipsEdit,
    DubWithFlashLips,
]
