"""Fit Audio: gives frames and audio the same length."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..keysync.choice import explain
from ..keysync.method import NETWORK_RATE
from ..keysync.timeline import SYNC_MODES, fit
from .host.audio import AudioDict, channels_of
from .host.checks import frame_rate
from .host.search import schema

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
            "silence.",
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
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The fitted frames."),
                io.Audio.Output(display_name="audio", tooltip="The audio, as long as the frames."),
                io.Float.Output(display_name="fps", tooltip="The input frame rate, for Encode Speech."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, audio: AudioDict, fps: float, sync_mode: str) -> io.NodeOutput:
        waveform, rate = channels_of(audio)
        tick = 1 / frame_rate(fps)
        timeline = fit(np.arange(len(images)), 1, tick, waveform.shape[-1] / rate, sync_mode)
        fitted = as_long_as(waveform, round(timeline.seconds * rate))
        return io.NodeOutput(pick(images, timeline.source), {"waveform": fitted[None], "sample_rate": rate}, float(fps))


def pick(images: Tensor, source: NDArray[np.int64]) -> Tensor:
    """The frames with these numbers; copied only where they are not the first ones in order."""
    if np.array_equal(source, np.arange(len(source))):
        return images[: len(source)]
    return images[torch.from_numpy(source)]


def as_long_as(waveform: Tensor, samples: int) -> Tensor:
    """The waveform (channels, n) cut, or padded with silence, to so many samples."""
    return F.pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))


NODES: list[type[io.ComfyNode]] = [FitAudio]
