"""Nodes for lips curves: read from speech, measured on a video, edited and drawn."""

from __future__ import annotations

import logging
import math
from typing import Any

import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import io
from numpy.typing import NDArray
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.face.crop import Crops
from ..keysync.face.mesh import MeshReader
from ..keysync.face.mouth import MEASURED, measure
from ..keysync.media.audio import hear
from ..keysync.method import FRAME_BY_FRAME, NETWORK_RATE
from ..keysync.speech.features import SpeechFeatures
from ..keysync.speech.lips import load_lips
from ..keysync.speech.lips_curve import LipsCurve, Values
from ..keysync.speech.lips_plot import draw_curve
from ..keysync.systems.rewrite.bank import CONFIDENT
from ..keysync.systems.rewrite.curve import as_lips
from ..keysync.systems.rewrite.rewriter import NEEDS
from .host.audio import AudioDict, channels_of
from .host.checks import frame_rate, want_finite, want_number
from .host.encoder import load_whisper
from .host.frames import check_frames, each_frame, name_frames
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket, LipsSocket
from .host.video import open_sound

log = logging.getLogger(__name__)

# Of a frame: no speech is read for less.
PART = 0.01
NOT_MEASURED = "teeth are not measured: 0 in all frames"


class LipsCurveFromSpeech(io.ComfyNode):
    """Reads the lips from speech."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLipsCurveFromSpeech",
            display_name="Lips Curve from Speech",
            category="KeySync/lips",
            description="Reads from speech how the lips move: how far they part, how wide and how round they are, "
            "frame by frame. It hears all kinds of people, English best. Nothing is downloaded.",
            inputs=[
                io.Audio.Input("audio", tooltip="The new speech from Fit Audio, as long as the frames."),
                fps_input("Frame rate of the video, from Fit Audio."),
            ],
            outputs=[_lips_output()],
        )

    @classmethod
    def execute(cls, audio: AudioDict, fps: float) -> io.NodeOutput:
        rate = float(frame_rate(fps))
        heard = hear(open_sound(audio))
        for note in heard.notes:
            log.warning(note)
        rows = load_whisper().encode(heard.samples)
        # Every frame that begins while the speech lasts; a part of a sample may be missing.
        times = np.arange(max(1, math.ceil(heard.seconds * rate - PART))) / rate
        return io.NodeOutput(LipsCurve(read_lips(rows, times, rate), rate))


class LipsCurveFromVideo(io.ComfyNode):
    """Measures the lips on a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLipsCurveFromVideo",
            display_name="Lips Curve from Video",
            category="KeySync/lips",
            description="Measures on a video how the lips move, so that another face can repeat it. The same units as "
            "from speech; teeth are not measured and stay 0.",
            inputs=[
                io.Image.Input(
                    "images",
                    tooltip="The frames used in Track Face with its track, or crops with the face in the middle.",
                ),
                fps_input("Frame rate of the images, from Get Video Components."),
                FaceTrackSocket.Input(
                    "track",
                    optional=True,
                    tooltip="From Track Face if the images are whole frames, or from Crop Face if they are its crops.",
                ),
            ],
            outputs=[
                _lips_output(),
                io.String.Output(
                    display_name="report", tooltip="In which frames the mouth was measured, and which are filled in."
                ),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, fps: float, track: Faces | None = None) -> io.NodeOutput:
        rate = float(frame_rate(fps))
        want_finite(images, "images")
        measures = measure_mouths(images, track)
        return io.NodeOutput(LipsCurve(as_lips(measures), rate), describe(measures))


class EditLipsCurve(io.ComfyNode):
    """Edits a lips curve."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncEditLipsCurve",
            display_name="Edit Lips Curve",
            category="KeySync/lips",
            description="Edits a lips curve: stronger or weaker, closed where it opens little, smoother, still for a "
            "while, earlier or later. The edits are made in the order of the inputs.",
            inputs=[
                LipsSocket.Input("lips", tooltip="From Lips Curve from Speech or Lips Curve from Video."),
                io.Float.Input(
                    "opening",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="Factor of the opening, the jaw and the teeth.",
                ),
                io.Float.Input(
                    "width",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="Factor of the width and the roundness.",
                ),
                io.Float.Input(
                    "close_below",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Openings below this are closed. Those above twice as much stay as they are.",
                ),
                *timing_inputs("the curve"),
            ],
            outputs=[_lips_output()],
        )

    @classmethod
    def execute(
        cls,
        lips: LipsCurve,
        opening: float,
        width: float,
        close_below: float,
        smoothing: float,
        hold_from: int,
        hold_frames: int,
        shift: float,
    ) -> io.NodeOutput:
        names = ("opening", "width", "close_below", "smoothing", "shift")
        for name, value in zip(names, (opening, width, close_below, smoothing, shift), strict=True):
            want_number(name, value)
        edited = lips.strengthened(opening, width).closed_below(close_below).smoothed(smoothing)
        return io.NodeOutput(edited.held(hold_from, hold_frames).shifted(shift))


class PlotLipsCurve(io.ComfyNode):
    """Draws a lips curve."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncPlotLipsCurve",
            display_name="Plot Lips Curve",
            category="KeySync/lips",
            description="Draws a lips curve over time, in front of the waveform of its speech.",
            inputs=[
                LipsSocket.Input("lips", tooltip="The curve to draw."),
                io.Int.Input("width", default=1280, min=256, max=8192, tooltip="Width of the picture in pixels."),
                io.Int.Input("height", default=480, min=128, max=4096, tooltip="Height of the picture in pixels."),
                io.Audio.Input("audio", optional=True, tooltip="The speech, drawn as a waveform behind the curve."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="One picture of the curve, for Preview Image.")],
        )

    @classmethod
    def execute(cls, lips: LipsCurve, width: int, height: int, audio: AudioDict | None = None) -> io.NodeOutput:
        sound, rate = None, 1
        if audio is not None:
            samples, rate = channels_of(audio)
            sound = samples.mean(0).numpy()
        picture = draw_curve(lips, (height, width), sound, rate)
        return io.NodeOutput(torch.from_numpy(picture)[None].float() / 255)


def read_lips(speech: SpeechFeatures, times: NDArray[np.float64], rate: float) -> Values:
    """The lips (n, 5) at `times` (n,), `rate` a second, as a dub reads them: at other rates than the method's, at its
    own, since the reader sees a number of frames."""
    slowest, fastest = FRAME_BY_FRAME
    reader = load_lips()
    if slowest <= round(rate, 2) <= fastest:
        return reader.read(speech.at(times)).numpy()
    own = LipsCurve(reader.read(speech.frames).numpy(), NETWORK_RATE)
    return own.at(times)


def measure_mouths(images: Tensor, faces: Faces | None) -> NDArray[np.float32]:
    """The mouths (n, 4) of `face.mouth.measure` in images (n, h, w, c), NaN where no face is seen.

    The images are whole frames with their track, or crops.
    """
    reader = MeshReader(comfy.model_management.get_torch_device())
    cut = None
    if faces is not None and images.shape[1:3] != faces.crop_size:
        check_frames(images, faces.track)
        cut = Crops.of(faces.track, NEEDS.crop_size, NEEDS.crop_scale, native=True).cut
    elif faces is not None and len(images) != len(faces.track.found):
        raise KeySyncError(f"there are {len(images)} crops but the track covers {len(faces.track.found)} frames")
    measures = np.full((len(images), len(MEASURED)), np.nan, np.float32)
    for index in each_frame(len(images)):
        if faces is not None and not faces.track.found[index]:
            continue
        picture = images[index, ..., :3].cpu()
        if cut is not None:
            picture = cut(picture, index)
        mesh = reader.read(picture[None])
        if mesh.confidence[0] >= CONFIDENT:
            measures[index] = measure(mesh.points)[0]
    return measures


def describe(measures: NDArray[np.float32]) -> str:
    """What was measured, a line each."""
    known: NDArray[np.bool_] = np.isfinite(measures[:, 0])
    lines = [f"the mouth was measured in {int(known.sum())} of {len(known)} frames"]
    if not known.all():
        lines.append(f"no face, filled from the frames around: frames {name_frames(np.flatnonzero(~known).tolist())}")
    return "\n".join([*lines, NOT_MEASURED])


def timing_inputs(moved: str) -> list[Any]:
    """What is done to lips over time, in this order."""
    return [
        io.Float.Input(
            "smoothing",
            default=0.0,
            min=0.0,
            max=25.0,
            step=0.1,
            tooltip="Averages each frame with its neighbours: standard deviation in frames. 0 is off.",
        ),
        io.Int.Input(
            "hold_from",
            default=0,
            min=0,
            max=1_000_000,
            tooltip="The frame whose lips are held, counted from 0. See hold_frames.",
        ),
        io.Int.Input(
            "hold_frames",
            default=0,
            min=0,
            max=1_000_000,
            tooltip="For how many frames from hold_from on the lips stand still. 0 is off.",
        ),
        io.Float.Input(
            "shift",
            default=0.0,
            min=-250.0,
            max=250.0,
            step=0.1,
            tooltip=f"Moves {moved} by so many frames: later if positive, earlier if negative.",
        ),
    ]


def fps_input(tooltip: str) -> Any:
    """The frame rate of what is given."""
    return io.Float.Input("fps", default=float(NETWORK_RATE), min=1.0, max=240.0, step=0.001, tooltip=tooltip)


def _lips_output() -> Any:
    return LipsSocket.Output(
        display_name="lips", tooltip="For Edit Lips Curve, Plot Lips Curve, Choose Mouths or Lip Sync (no download)."
    )


NODES: list[type[io.ComfyNode]] = [LipsCurveFromSpeech, LipsCurveFromVideo, EditLipsCurve, PlotLipsCurve]
