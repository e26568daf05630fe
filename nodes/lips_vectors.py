"""Draw Lips Vectors: how far the mouth opens at which second, typed in, and a picture of it."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..keysync.plot import draw_curves
from ..keysync.systems.flashlips.models import FlashLips
from ..keysync.systems.flashlips.opening import WIDEST, OpeningLine, Openings, drawn_over
from ..keysync.systems.flashlips.vectors import LipsVectors
from .host.audio import AudioDict, channels_of
from .host.checks import frame_rate, want_finite, want_number
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import FlashLipsSocket, LipsVectorsSocket
from .lips import fps_input

# Values at the upper and the lower edge of the plot, and its height and width.
EDGES, SIZE = (1.6, -0.4), (320, 960)


class DrawLipsVectors(io.ComfyNode):
    """Lips vectors drawn over a timeline."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncDrawLipsVectors",
            display_name="Draw Lips Vectors",
            category="KeySync/flashlips",
            description="Lips vectors by hand: how far the mouth opens at which second, in the manner of the person in "
            "the crops. From the first key to the last they replace other vectors, or are blended with them. Draws the "
            "curve.",
            inputs=[
                FlashLipsSocket.Input("flashlips", tooltip="From Load FlashLips."),
                io.Image.Input(
                    "crops",
                    tooltip="From Crop Face, with Load FlashLips connected to its model: crops of the person with the "
                    "mouth closed and open.",
                ),
                io.String.Input(
                    "keys",
                    default="0:0, 0.5:1, 1:0",
                    multiline=True,
                    tooltip="seconds:opening, with straight lines between: 0 is closed, 1 as wide as in the crops, "
                    f"{WIDEST:g} the most. Or CSV with the columns seconds and opening, or JSON, a list of objects "
                    f"with "
                    "these names.",
                ),
                io.Float.Input(
                    "share",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the other vectors is replaced: 1 all, 0 nothing. Has an effect only if "
                    "vectors is connected.",
                ),
                fps_input("Frame rate of the frames to draw. Has no effect if vectors is connected."),
                io.Int.Input(
                    "frames",
                    default=25,
                    min=1,
                    max=1_000_000,
                    tooltip="How many frames to draw. Has no effect if vectors is connected.",
                ),
                LipsVectorsSocket.Input(
                    "vectors",
                    optional=True,
                    tooltip="Lips vectors to draw over, from Lips Vectors from Speech or Lips Vectors from Video.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="The speech, drawn as a waveform behind the curve."),
            ],
            outputs=[
                LipsVectorsSocket.Output(
                    display_name="vectors", tooltip="For Edit Lips Vectors, FlashLips Edit or Dub with FlashLips."
                ),
                io.Image.Output(display_name="plot", tooltip="A picture of the openings, also shown in the node."),
            ],
        )

    @classmethod
    @remedies({"keys": "set keys", "crops": "connect Load FlashLips to model in Crop Face"})
    def execute(
        cls,
        flashlips: FlashLips,
        crops: Tensor,
        keys: str,
        share: float,
        fps: float,
        frames: int,
        vectors: LipsVectors | None = None,
        audio: AudioDict | None = None,
    ) -> io.NodeOutput:
        want_number("share", share)
        want_finite(crops, "crops")
        openings, line = Openings.of(keys), OpeningLine.of(flashlips, crops[..., :3].cpu())
        if vectors is None:
            rate = float(frame_rate(fps))
            made = line.draw(openings.at(np.arange(frames) / rate), rate)
        else:
            made = drawn_over(vectors, openings, line, share)
        plot = draw(made, vectors, line, audio)
        return io.NodeOutput(made, plot, ui=ui.PreviewImage(plot, cls=cls))


def draw(made: LipsVectors, before: LipsVectors | None, line: OpeningLine, audio: AudioDict | None) -> Tensor:
    """A picture (1, h, w, 3) of how far the mouth opens, before and afterwards, over the sound."""
    sound, rate = None, 1
    if audio is not None:
        samples, rate = channels_of(audio)
        sound = samples.mean(0).numpy()
    curves = {"opening": line.read(made)} | ({} if before is None else {"before": line.read(before)})
    picture = draw_curves(curves, made.fps, EDGES, SIZE, sound, rate)
    return torch.from_numpy(picture)[None].float() / 255


NODES: list[type[io.ComfyNode]] = [DrawLipsVectors]
