"""Load Example: a clip and speech that come with KeySync, so that every workflow runs before a file is chosen."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import torch
from comfy_api.latest import InputImpl, Types, io

from ..keysync.demo import EXAMPLES, SPEECH
from ..keysync.media.audio import open_sound
from ..keysync.media.reader import open_video
from ..keysync.method import NETWORK_RATE
from .host.search import schema

# As long as the first sentence of the speech, and the longest of the clips.
DEFAULT_SECONDS, LONGEST = 3.0, 6.0


class LoadExample(io.ComfyNode):
    """Loads a clip and speech that come with KeySync."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLoadExample",
            display_name="Load Example",
            category="KeySync",
            description="Loads a short clip of rendered people and new speech for it, both built in: a workflow runs "
            "at once. Replace it by Load Video and Load Audio to use your own files.",
            inputs=[
                io.Combo.Input(
                    "example",
                    options=list(EXAMPLES),
                    default=next(iter(EXAMPLES)),
                    tooltip="Which clip. In hand before the mouth, a hand hides the mouth for a while. Two people "
                    "talking lasts 4 s: face_index 0 is the left person, 1 the right one.",
                ),
                io.Float.Input(
                    "seconds",
                    default=DEFAULT_SECONDS,
                    min=0.2,
                    max=LONGEST,
                    step=0.1,
                    tooltip="How much of the clip and the speech to load. Less runs faster.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The clip, without sound, at 25 fps."),
                io.Audio.Output(display_name="audio", tooltip="The new speech."),
            ],
        )

    @classmethod
    def execute(cls, example: str, seconds: float) -> io.NodeOutput:
        frames = islice(open_video(EXAMPLES[example]).frames(), max(1, round(seconds * NETWORK_RATE)))
        images = torch.from_numpy(np.stack([frame for _, frame in frames])).float() / 255
        video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=Fraction(NETWORK_RATE)))
        sound = open_sound(SPEECH)
        samples = np.concatenate(list(sound.blocks()), axis=1)[:, : round(seconds * sound.rate)]
        return io.NodeOutput(video, {"waveform": torch.from_numpy(samples)[None], "sample_rate": sound.rate})


NODES: list[type[io.ComfyNode]] = [LoadExample]
