"""Emotion Curve: valence and arousal over time, from named states or from a table, and a picture of them."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..keysync.method import NETWORK_RATE
from ..keysync.systems.keyface.emotion import EMOTIONS, Emotion
from ..keysync.systems.keyface.emotion_plot import SIZE, draw_emotion
from ..keysync.timed import looks_like_json
from .host.audio import AudioDict, channels_of
from .host.search import schema
from .host.sockets import EmotionSocket

# What the picture shows of a curve without its sound: this, or up to a second after its last key.
SECONDS = 4.0


class EmotionCurve(io.ComfyNode):
    """An emotion over time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncEmotionCurve",
            display_name="Emotion Curve",
            category="KeySync/portrait",
            description="The emotion of a talking portrait over time: valence, from unpleasant to pleasant, and "
            "arousal, from calm to excited. Draws both in front of the waveform.",
            inputs=[
                io.String.Input(
                    "emotion",
                    default="neutral",
                    tooltip="A state, such as happy; states in a row, evenly spread: sad,happy; or states at seconds, "
                    f"with straight lines between: 0:neutral,2.5:happy. States: {', '.join(EMOTIONS)}.",
                ),
                io.Boolean.Input(
                    "accentuate", default=False, tooltip="Make the emotion one and a half times as strong."
                ),
                io.String.Input(
                    "curve",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="A curve of your own, in place of emotion: CSV with the columns seconds, valence and "
                    "arousal, or JSON, a list of objects with these names. Values go from -1 to 1.",
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="The sound of the portrait, drawn as a waveform behind the curve."
                ),
            ],
            outputs=[
                EmotionSocket.Output(display_name="emotion", tooltip="For Animate Portrait."),
                io.Image.Output(display_name="plot", tooltip="A picture of the curve, also shown in the node."),
            ],
        )

    @classmethod
    def execute(cls, emotion: str, accentuate: bool, curve: str = "", audio: AudioDict | None = None) -> io.NodeOutput:
        made = read_emotion(emotion, curve)
        made = made.accentuated() if accentuate else made
        plot = draw(made, audio)
        return io.NodeOutput(made, plot, ui=ui.PreviewImage(plot, cls=cls))


def read_emotion(emotion: str, curve: str) -> Emotion:
    """The curve of a table where there is one, else that of states. Raises `KeySyncError` for text that is neither."""
    table = curve.strip()
    return Emotion.parse(table, "curve", is_json=looks_like_json(table)) if table else Emotion.of(emotion)


def draw(emotion: Emotion, audio: AudioDict | None) -> torch.Tensor:
    """A picture (1, h, w, 3) of a curve over its sound."""
    samples, rate = (None, 1) if audio is None else channels_of(audio)
    sound = None if samples is None else samples.mean(0).numpy()
    last = 0.0 if emotion.seconds is None else float(emotion.seconds[-1])
    seconds = max(SECONDS, last + 1) if sound is None else len(sound) / rate
    times = np.arange(max(1, round(seconds * NETWORK_RATE))) / NETWORK_RATE
    picture = draw_emotion(emotion.at(times), NETWORK_RATE, SIZE, sound, rate)
    return torch.from_numpy(picture)[None].float() / 255


NODES: list[type[io.ComfyNode]] = [EmotionCurve]
