"""Fit Audio: gives frames and audio the same length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..keysync.choice import explain
from ..keysync.errors import KeySyncError
from ..keysync.method import NETWORK_RATE
from ..keysync.timeline import SYNC_MODES, fit
from .host.audio import AudioDict, channels_of
from .host.checks import frame_rate
from .host.frames import as_masks, check_frames
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket

SYNC_TIP = explain("What to do when video and audio have different lengths.", SYNC_MODES)
DEFAULT_SYNC_MODE = "cut_off"


class FitAudio(io.ComfyNode):
    """Gives frames and audio the same length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncFitAudio",
            display_name="Fit Audio",
            category="KeySync",
            description="Gives frames and audio the same length: repeats or drops frames, cuts the audio or adds "
            "silence. What was made of the frames before can be fitted with them: then new audio tracks, crops and "
            "encodes nothing again.",
            inputs=[
                io.Image.Input("images", tooltip="The frames of the video, in order."),
                io.Audio.Input("audio", tooltip="The new speech."),
                io.Float.Input(
                    "fps",
                    default=float(NETWORK_RATE),
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frame rate of the images, from Get Video Components.",
                ),
                io.Combo.Input("sync_mode", options=list(SYNC_MODES), default=DEFAULT_SYNC_MODE, tooltip=SYNC_TIP),
                FaceTrackSocket.Input(
                    "track",
                    optional=True,
                    tooltip="From Crop Face or Track Face, run on these images. Repeated and dropped like them.",
                ),
                io.Image.Input(
                    "crops", optional=True, tooltip="From Crop Face, one per image. Repeated and dropped like them."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="From Mouth Mask, one per image or one for all. Repeated and dropped like the images.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="From Set Latent Noise Mask, one latent per image. Repeated and dropped like the images.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The fitted frames."),
                io.Audio.Output(display_name="audio", tooltip="The audio, as long as the frames."),
                io.Float.Output(display_name="fps", tooltip="The input frame rate, for Encode Speech."),
                FaceTrackSocket.Output(display_name="track", tooltip="The track of the fitted frames."),
                io.Image.Output(display_name="crops", tooltip="The crops of the fitted frames."),
                io.Mask.Output(display_name="mask", tooltip="The masks of the fitted frames."),
                io.Latent.Output(display_name="latent", tooltip="The latents of the fitted frames."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        audio: AudioDict,
        fps: float,
        sync_mode: str,
        track: Faces | None = None,
        crops: Tensor | None = None,
        mask: Tensor | None = None,
        latent: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        waveform, rate = channels_of(audio)
        tick = 1 / frame_rate(fps)
        timeline = fit(np.arange(len(images)), 1, tick, waveform.shape[-1] / rate, sync_mode)
        fitted = as_long_as(waveform, round(timeline.seconds * rate))
        source, count = timeline.source, len(images)
        if track is not None:
            check_frames(images, track.track)
        return io.NodeOutput(
            pick(images, source),
            {"waveform": fitted[None], "sample_rate": rate},
            float(fps),
            nothing("track") if track is None else track.at(source),
            nothing("crops") if crops is None else pick(of_each(crops, count, "crops"), source),
            nothing("mask") if mask is None else pick_masks(as_masks(mask), count, source),
            nothing("latent") if latent is None else pick_latents(latent, count, source),
        )


def pick(images: Tensor, source: NDArray[np.int64]) -> Tensor:
    """The frames with these numbers; copied only where they are not the first ones in order."""
    if np.array_equal(source, np.arange(len(source))):
        return images[: len(source)]
    return images[torch.from_numpy(source)]


def pick_masks(masks: Tensor, count: int, source: NDArray[np.int64]) -> Tensor:
    """The masks (n, ...) of these frames; one is for all."""
    return masks if len(masks) == 1 else pick(of_each(masks, count, "masks"), source)


def pick_latents(latent: dict[str, Any], count: int, source: NDArray[np.int64]) -> dict[str, Any]:
    """The latents of these frames, with their noise masks."""
    picked = {**latent, "samples": pick(of_each(latent["samples"], count, "latents"), source)}
    if "noise_mask" in latent:
        picked["noise_mask"] = pick_masks(latent["noise_mask"], count, source)
    if "batch_index" in latent:  # of the core's Latent From Batch: the numbers that seed the noise
        picked["batch_index"] = [latent["batch_index"][number] for number in source.tolist()]
    return picked


def of_each(batch: Tensor, count: int, name: str) -> Tensor:
    """The batch. Raises `KeySyncError` unless it has one item for each image."""
    if len(batch) != count:
        raise KeySyncError(
            f"there are {len(batch)} {name} but {count} images: connect what was made of the same images, before Fit "
            "Audio"
        )
    return batch


def nothing(name: str) -> ExecutionBlocker:
    """What an output without its input gives: nodes that need it do not run, and the user reads why."""
    return ExecutionBlocker(f"Fit Audio has no {name}: connect {name} to it")


def as_long_as(waveform: Tensor, samples: int) -> Tensor:
    """The waveform (channels, n) cut, or padded with silence, to so many samples."""
    return F.pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))


NODES: list[type[io.ComfyNode]] = [FitAudio]
