"""What people choose of a live dub: places that frames come from and go to, by their names, and how many are drawn
together."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

# The standard input, and the standard output.
STANDARD = "-"
# Devices by their names in libav; which of them there are depends on the system and on how PyAV was built.
DEVICES = ("alsa", "avfoundation", "dshow", "gdigrab", "lavfi", "pulse", "v4l2", "x11grab")
# By the scheme of a place on the network, the format that is sent there.
SCHEMES = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtp": "rtp_mpegts", "srt": "mpegts", "udp": "mpegts"}
# The format of frames as they are in memory: RGB, 3 bytes a pixel.
RAW: Final = "rawvideo"
# Frames of a batch: many keep a processor busy, few keep the delay short.
BATCH = 8


@dataclass(frozen=True)
class Raw:
    """Frames of RGB without a header: `width` times `height` pixels, `rate` a second."""

    width: int
    height: int
    rate: Fraction
