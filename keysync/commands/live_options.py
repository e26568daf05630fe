"""The options of the command `live`."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from ..face.masks import MASKS
from ..live.choices import BATCH, DEVICES, SCHEMES, Raw

LIVE_HELP = (
    "Dub frames as they come: from a camera, a pipe or a file, into a file, a pipe or a stream. Each frame goes out "
    "soon after it came, with its sound; no frame is dropped. At the end it is said how late frames were, which passed "
    "through undubbed, and how many the source did not send."
)
SOURCES = f"a file, a named pipe, - for the standard input, or a device as FORMAT:NAME; formats: {', '.join(DEVICES)}"


def add_live_options(parser: argparse.ArgumentParser, systems: Sequence[str]) -> None:
    """Those that no other command has; `systems` are the names of those that draw live."""
    parser.add_argument("video", metavar="VIDEO", help=SOURCES)
    parser.add_argument("audio", metavar="AUDIO", help="the new speech: the same kinds of sources")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help=f"a file (.mp4, .mov or .mkv), - for the standard output, a named pipe, or a URL ({', '.join(SCHEMES)})",
    )
    parser.add_argument(
        "--format", metavar="NAME", help="the format of what is sent, as libav calls it; rawvideo: RGB without sound"
    )
    parser.add_argument(
        "--raw", type=_raw, metavar="WxH@RATE", help="VIDEO is a pipe of raw RGB frames, such as 1280x720@25"
    )
    parser.add_argument("--system", choices=systems, default=systems[0], help="default: %(default)s")
    parser.add_argument(
        "--person",
        type=Path,
        metavar="CLIP",
        help="a video of the same person to take references from (default: the frames that come)",
    )
    parser.add_argument(
        "--batch", type=int, default=BATCH, metavar="N", help="frames that are drawn together (default: %(default)s)"
    )
    parser.add_argument(
        "--real-time", action="store_true", help="read a file at its own speed, as a camera would be (default: at once)"
    )
    late = parser.add_mutually_exclusive_group()
    late.add_argument(
        "--latency",
        type=_seconds,
        metavar="SECONDS",
        help="let frames of a live source pass through undubbed that have waited for longer (default: a second more "
        "than a batch has to wait)",
    )
    late.add_argument("--wait", action="store_true", help="dub every frame, however late")
    parser.add_argument("--mask", choices=sorted(MASKS), help="the region to generate (default: that of the training)")
    parser.add_argument(
        "--face",
        default="0",
        metavar="WHO",
        help="0 for the largest face (default), 1 for the next; X,Y for the one there",
    )


def _raw(text: str) -> Raw:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})@(\d{1,3}(?:\.\d{1,6})?|\d{1,6}/\d{1,6})", text)
    try:
        if found is None or not int(found[1]) or not int(found[2]) or not Fraction(found[3]):
            raise ValueError
        return Raw(int(found[1]), int(found[2]), Fraction(found[3]))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT@RATE, such as 1280x720@25") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, such as 1.5")
    return seconds
