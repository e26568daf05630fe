"""About how long each step of a dub takes: what its progress begins with, until it is measured.

Seconds on one core of a server CPU, measured with the demo and with a clip of 1080x1920.
"""

from __future__ import annotations

from dataclasses import dataclass

from .media.info import PictureFormat
from .systems.renderer import Costed, Renderer

# A frame: decoding for each million pixels, and finding its faces.
DECODE, DETECT = 0.002, {"mediapipe": 0.011, "face-alignment": 1.5}
# A frame of a survey besides decoding; a frame of the result, and H.264 for each million of its pixels.
LOOK, PASTE, WRITE = 0.007, 0.003, 0.018
# A second of speech for an encoder of so many channels, by its kind; narrower ones are faster.
CHANNELS, HEAR = 768, {"whisper": 0.06, "hubert": 0.2, "wavlm": 0.25}
# An evaluation by a renderer that does not say.
EVALUATION = 0.02
# How many times as fast as a core of a CPU a GPU evaluates the network, by their operations a second; not measured.
GPU = 100.0


@dataclass(frozen=True)
class Costs:
    """Seconds for a frame that is followed, looked at by a survey, and written; and how much faster networks run."""

    follow: float
    look: float
    frame: float
    speed: float

    @classmethod
    def of(cls, video: PictureFormat, device: str, detector: str | None) -> Costs:
        """Those of a video whose faces are found by `detector`, or known without one."""
        pixels = video.width * video.height / 1e6
        decode = DECODE * pixels
        detect = 0.0 if detector is None else DETECT.get(detector, DETECT["mediapipe"])
        return cls(decode + detect, decode + LOOK, PASTE + WRITE * pixels, 1.0 if device == "cpu" else GPU)

    def hearing(self, renderer: Renderer, seconds: float) -> float:
        """An encoder of a renderer's on average, for so many seconds of speech."""
        widths = {name: getattr(renderer.encoders.get(name), "channels", CHANNELS) for name in renderer.needs.encoders}
        each = [HEAR.get(name, HEAR["hubert"]) * width / CHANNELS for name, width in widths.items()]
        return seconds * sum(each) / max(1, len(each)) / self.speed

    def evaluation(self, renderer: Renderer) -> float:
        """A network evaluation."""
        return renderer.seconds_per_evaluation / self.speed if isinstance(renderer, Costed) else EVALUATION

    def made(self, renderer: Renderer) -> float:
        """A frame of the result, besides the evaluations for it."""
        return self.frame + (renderer.seconds_per_frame / self.speed if isinstance(renderer, Costed) else 0.0)
