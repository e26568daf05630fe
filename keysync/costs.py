"""About how long each step of a dub takes: what its progress begins with, until it is measured; and how much memory.

Seconds on one core of a server CPU, measured with the demo and with a clip of 1080x1920; bytes measured there with
clips of 360x288, 512x512 and 1080x1920.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .media.info import PictureFormat
from .systems.renderer import Costed, Renderer, Weighed

# A frame: decoding for each million pixels, and finding its faces.
DECODE, DETECT = 0.002, {"mediapipe": 0.011, "face-alignment": 1.5}
# A frame of a survey besides decoding; a frame of the result, and H.264 for each million of its pixels.
LOOK, PASTE, WRITE = 0.007, 0.003, 0.018
# A frame in which occluders are searched, besides decoding.
OCCLUDER = 0.035
# A second of speech for an encoder of so many channels, by its kind; narrower ones are faster.
CHANNELS, HEAR = 768, {"whisper": 0.06, "hubert": 0.2, "wavlm": 0.25}
# An evaluation by a renderer that does not say.
EVALUATION = 0.02
# How many times as fast as a core of a CPU a GPU evaluates the network, by their operations a second; not measured.
GPU = 100.0

# Bytes for each pixel of a frame while frames are drawn: what x264 holds to look ahead (FFV1 does not), the pictures
# that two decoders keep, and the RGB frames that wait between threads. Beside them, whatever the size: the container.
X264, FFV1, DECODERS, WAITING, CONTAINER = 94, 12, 25, 15 * 3, 8 * 2**20


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

    @property
    def occluder(self) -> float:
        """A frame in which occluders are searched."""
        return self.look - LOOK + OCCLUDER

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


def memory(
    renderer: Renderer, video: PictureFormat, crop: tuple[int, int], settings: Any, lossless: bool
) -> int | None:
    """Bytes of main memory that the process holds at most by the end of a dub that is about to draw crops of this size
    (H, W), (0, 0) for none: what it holds already, and what drawing adds by its shapes. None where the system does not
    say."""
    held = held_memory()
    if held is None:
        return None
    now, most = held
    pixels = video.width * video.height
    frames = pixels * ((FFV1 if lossless else X264) + DECODERS + WAITING) + CONTAINER
    drawing = renderer.bytes_to_draw(crop, settings) if isinstance(renderer, Weighed) and all(crop) else 0
    return max(most, now + frames + drawing)


def held_memory() -> tuple[int, int] | None:
    """Bytes of main memory that this process holds now, and those that it held at most."""
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return most, most
    return int(statm.read_text().split()[1]) * resource.getpagesize(), most


def in_gigabytes(size: int) -> str:
    """Such as about 0.7 GB."""
    return f"about {size / 1e9:.1f} GB"
