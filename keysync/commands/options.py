"""Options that several commands share, and the values that they are read as."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..choice import Choice, lines
from ..face.detectors import DETECTORS
from ..face.masks import MASKS
from ..face.occlusion import AUTO
from ..provenance import ALGORITHMS
from ..systems.keyface.emotion import EMOTIONS
from ..systems.renderer import Option, System
from ..timeline import SYNC_MODES
from ..weights.checkpoint import DTYPES
from ..who import EVERYONE, SPEAKING

WORK = "keep unfinished work here instead of beside the output; a run that is killed resumes with it"
WHO = (
    "0 for the largest face in each shot (default), 1 for the next; X,Y for the one at these pixels; a picture of the "
    f"person; {SPEAKING} for the one who speaks in the video"
)
MEASURED = (
    "Measure how well the mouth of any video, by any system, follows its sound: the lag, the correlation, how often "
    "the mouth is open in silence (LipLeak), jitter and sharpness; with the source of a dub also what changed beside "
    "the mouth. The figures are a guide and no proof."
)


def system_options(systems: Iterable[System]) -> dict[str, Option]:
    """The options of systems by name. Raises `ValueError` where two systems define one differently."""
    options: dict[str, Option] = {}
    for system in systems:
        for option in (*system.files, *system.options):
            if options.setdefault(option.name, option) != option:
                raise ValueError(f"{system.name} defines {option.flag} unlike a system above it: share one option")
    return options


def add_face_options(parser: argparse.ArgumentParser) -> None:
    """Whose mouth is dubbed, and what covers it."""
    parser.add_argument(
        "--occluder",
        type=_occluder,
        metavar="MASK_VIDEO",
        help=f"video, white where the face is hidden; {AUTO}: find in the video what covers the mouth",
    )
    add_finding_options(parser)
    parser.add_argument(
        "--face",
        default="0",
        metavar="WHO",
        help=f"{WHO}; {EVERYONE} for each person while they speak",
    )
    parser.add_argument(
        "--same-person", action="store_true", help="with a number or X,Y in --face: follow this person through cuts"
    )


def add_finding_options(parser: argparse.ArgumentParser) -> None:
    """How faces are found."""
    parser.add_argument("--landmarks", type=Path, metavar="JSON", help="68 points per frame, instead of a detector")
    add_detector_options(parser)


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """What finds faces."""
    parser.add_argument(
        "--detector", choices=sorted(DETECTORS), default="mediapipe", help=f"{_help(DETECTORS)} (default: %(default)s)"
    )
    parser.add_argument("--detector-weights", type=Path, metavar="FOLDER", help="weight files of the detector")


def add_dub_options(parser: argparse.ArgumentParser) -> None:
    """How a dub is made, by whatever system."""
    lengths = "what to do when video and audio have different lengths (default: cut_off)"
    parser.add_argument(
        "--sync-mode", choices=sorted(SYNC_MODES), default="cut_off", help=f"{lengths}; {_help(SYNC_MODES)}"
    )
    region = "the region to generate (default: the mask that the models were trained with)"
    parser.add_argument("--mask", choices=sorted(MASKS), help=f"{region}; {_help(MASKS)}")
    parser.add_argument(
        "--quiet-mouth",
        action="store_true",
        help="close the mouth wherever the speech pauses, whatever else sounds there",
    )
    parser.add_argument(
        "--align",
        action="store_true",
        help="turn the crops with the head, so that the eyes are level: for tilted heads",
    )
    cache = "keep what is found out about the clip in this folder, for the next dub of the same clip"
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help=cache)


def add_head_options(parser: argparse.ArgumentParser) -> None:
    """What a talking head feels, and which face of the picture it is."""
    feeling = parser.add_mutually_exclusive_group()
    feeling.add_argument(
        "--emotion",
        default="neutral",
        metavar="STATES",
        help="a state such as happy, states in a row (sad,happy), or states at seconds (0:neutral,2.5:happy); "
        f"the states: {', '.join(EMOTIONS)} (default: %(default)s)",
    )
    feeling.add_argument(
        "--emotion-curve",
        type=Path,
        metavar="FILE",
        help="CSV or JSON with seconds, valence and arousal, both from -1 to 1",
    )
    parser.add_argument("--accentuate", action="store_true", help="make the emotion one and a half times as strong")
    parser.add_argument(
        "--as-original",
        action="store_true",
        help="squash the whole picture instead of finding the face, as KeyFace does",
    )
    add_finding_options(parser)
    parser.add_argument(
        "--face",
        default="0",
        metavar="WHO",
        help="0 for the largest face (default), 1 for the next; X,Y for the one there",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Where a job writes."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="video: .mp4, .mov or .mkv")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write what happened to each frame")


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """How a job works, and what its result says of it."""
    add_network_options(parser)
    parser.add_argument("--lossless", action="store_true", help="write FFV1 in .mkv, which keeps every pixel exactly")
    parser.add_argument("--work-folder", type=Path, metavar="FOLDER", help=WORK)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", dest="fresh", action="store_false", help="go on with unfinished work (default)")
    again.add_argument("--fresh", action="store_true", help="ignore unfinished work and start anew")
    parser.set_defaults(fresh=False)
    add_mark_option(parser)
    parser.add_argument(
        "--c2pa", nargs=2, metavar=("CHAIN", "KEY"), help="sign the result: PEM files of certificates and private key"
    )
    parser.add_argument(
        "--c2pa-algorithm", choices=ALGORITHMS, default=ALGORITHMS[0], help="of the key (default: %(default)s)"
    )


def add_mark_option(parser: argparse.ArgumentParser) -> None:
    """Whether a result says that it is synthetic."""
    parser.add_argument(
        "--no-provenance",
        dest="provenance",
        action="store_false",
        help="do not say in the result's metadata that it is synthetic",
    )


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """How networks are run."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps ...")
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="of the networks (default: fp16 on a GPU, else fp32)")


def add_conversion_options(parser: argparse.ArgumentParser) -> None:
    """What a checkpoint does not say of itself, and how it is stored."""
    parser.add_argument("--head-dim", type=int, metavar="N", help="channels per attention head (64 if published)")
    parser.add_argument("--latent-size", type=_size, metavar="HxW", help="height x width (64x64 if published)")
    parser.add_argument("--audio-guidance", type=float, metavar="X", help="default guidance (5 if published)")
    parser.add_argument("--identity-guidance", type=float, metavar="X", help="default guidance (2 if published)")
    parser.add_argument(
        "--weak", action="store_true", help="this is the weaker copy that guides a KeyFace interpolation model"
    )
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="precision of the stored weights")


def add_measuring(commands: Any, measure: Any, compare: Any) -> None:
    """Adds both commands to the subparsers `commands`; `measure` and `compare` run them."""
    one = commands.add_parser("measure", help="measure the lip sync of a video", description=MEASURED)
    one.add_argument("video", type=Path, metavar="VIDEO")
    one.add_argument("--plot", type=Path, metavar="PICTURE", help="draw what was measured: .png or .svg")
    _add_measuring_options(one)
    one.set_defaults(run=measure)
    several = commands.add_parser(
        "compare",
        help="measure several dubs of one clip",
        description=f"{MEASURED} Several results of one clip become a table, and a video that shows them side by side.",
    )
    several.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    several.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="a video of all, after the source: .mp4, .mov or .mkv"
    )
    _add_measuring_options(several)
    several.set_defaults(run=compare)


def _add_measuring_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--audio", type=Path, metavar="AUDIO", help="the sound that the mouth should follow (default: the video's own)"
    )
    parser.add_argument(
        "--source", type=Path, metavar="VIDEO", help="the video that was dubbed, frame by frame and of the same size"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument(
        "--mask",
        choices=sorted(MASKS),
        default="box",
        help="the region that the dub may change; the seam is measured at its border (default: %(default)s)",
    )
    add_finding_options(parser)
    parser.add_argument("--face", default="0", metavar="WHO", help=WHO)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps ... (default: %(default)s)")


def _help(choices: Mapping[str, Choice[..., Any]]) -> str:
    return "; ".join(lines(choices))


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
        if min(height, width) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 64x64") from None
    return height, width


def _occluder(text: str) -> str | Path:
    return AUTO if text == AUTO else Path(text)
