"""Nodes that measure lip sync: Measure Lip Sync and Plot Mouth."""

from __future__ import annotations

import torch
from comfy_api.latest import Input, io

from ..keysync.choice import explain
from ..keysync.face.detectors import DETECTORS
from ..keysync.face.masks import MASKS
from ..keysync.face.track import FaceChoice
from ..keysync.job import FaceSource
from ..keysync.measure.figures import Measured
from ..keysync.measure.picture import picture_of
from ..keysync.measure.report import as_dict, as_json, table
from ..keysync.measure.verdict import verdict
from ..keysync.measuring import MASK, measure_video
from .detector import DETECTOR_TIP, detector_device, detector_weights
from .dub import NodeProgress
from .host.audio import AudioDict
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import MeasuredSocket
from .host.video import open_sound, open_video, sound_of

REMEDIES = {"sound": "connect audio", "source": "connect another video to source, or none"}


class MeasureLipSync(io.ComfyNode):
    """Measures how well a mouth follows its sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncMeasureLipSync",
            display_name="Measure Lip Sync",
            category="KeySync/measure",
            description="Measures how well the mouth of any video, by any system, follows its sound: the lag, the "
            "correlation, how often the mouth is open in silence (LipLeak), jitter and sharpness; with the source of a "
            "dub, also what changed beside the mouth. Frames are streamed.",
            inputs=[
                io.Video.Input("video", tooltip="The video to measure: a dub of any system, or any clip of a person."),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound that the mouth should follow. Not connected: the sound of the video.",
                ),
                io.Video.Input(
                    "source",
                    optional=True,
                    tooltip="The video that was dubbed, of the same size and with the same frames. With it, seam, "
                    "identity, colours and everything outside the mask are compared.",
                ),
                io.Combo.Input(
                    "mask",
                    options=list(MASKS),
                    default=MASK,
                    tooltip=explain("The region that the dub may change; the seam is measured at its border.", MASKS),
                ),
                io.Combo.Input("detector", options=list(DETECTORS), default="mediapipe", tooltip=DETECTOR_TIP),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=63,
                    tooltip="Which face to measure: 0 is the largest in each shot, 1 the second largest, and so on.",
                ),
            ],
            outputs=[
                MeasuredSocket.Output(display_name="measured", tooltip="All that was measured, for Plot Mouth."),
                io.String.Output(display_name="summary", tooltip="A verdict in a sentence, and a table."),
                io.String.Output(
                    display_name="report",
                    tooltip="The figures as JSON, among them lag_frames, correlation and lipleak, and the mouth aspect "
                    "ratio of each frame.",
                ),
            ],
        )

    @classmethod
    @remedies(REMEDIES)
    def execute(
        cls,
        video: Input.Video,
        mask: str,
        detector: str,
        face_index: int,
        audio: AudioDict | None = None,
        source: Input.Video | None = None,
    ) -> io.NodeOutput:
        measured = measure_video(
            open_video(video),
            sound_of(video) if audio is None else open_sound(audio),
            FaceSource(FaceChoice(face_index), detector, detector_weights(), device=detector_device()),
            NodeProgress(),
            source=None if source is None else open_video(source, "the source"),
            mask=mask,
        )
        figures = measured.figures
        summary = "\n".join([verdict(figures), "", *table([("", figures)])])
        return io.NodeOutput(measured, summary, as_json(as_dict(measured)))


class PlotMouth(io.ComfyNode):
    """Draws what was measured."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncPlotMouth",
            display_name="Plot Mouth",
            category="KeySync/measure",
            description="Draws what Measure Lip Sync measured: how far the mouth is open over time, the sound under "
            "it, the correlation by lag, and LipLeak by its threshold.",
            inputs=[
                MeasuredSocket.Input("measured", tooltip="From Measure Lip Sync."),
                io.Int.Input("width", default=1280, min=640, max=8192, tooltip="Width of the picture in pixels."),
                io.Int.Input("height", default=720, min=480, max=4096, tooltip="Height of the picture in pixels."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="One picture, for Preview Image.")],
        )

    @classmethod
    def execute(cls, measured: Measured, width: int, height: int) -> io.NodeOutput:
        picture = picture_of(measured, (height, width))
        return io.NodeOutput(torch.from_numpy(picture)[None].float() / 255)


NODES: list[type[io.ComfyNode]] = [MeasureLipSync, PlotMouth]
