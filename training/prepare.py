"""Prepares videos for training: finds faces, filters, crops and encodes them, and packs the clips into shards.

    python -m training.prepare VIDEOS... -o DATA

A stopped run resumes when the same command is given again. Exit codes: 0 done, 1 an error, reported in one line, 130
stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from keysync.errors import KeySyncError
from keysync.face.detectors import DETECTORS
from keysync.method import PUBLISHED_CROP_SCALE
from keysync.speech.encoders import ENCODERS
from keysync.systems.keysync.small import BUILT_IN, CROP_SCALE, RESOLUTION, SMALL

from .data.index import FILE
from .data.preparation import quality, speaker
from .data.preparation.engine import ENGINES
from .data.preparation.job import MOST_FAILURES, prepare
from .data.preparation.people import PEOPLE, VIDEO
from .data.preparation.report import NAME
from .data.preparation.settings import NONE, PUBLISHED_RESOLUTION, SEGMENT, ModelFile, Settings
from .data.preparation.stages import WORK
from .data.store import open_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares videos; returns the exit code."""
    options = _parser().parse_args(arguments)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="prepare: %(message)s")
    try:
        _run(options)
    except KeySyncError as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare: stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    settings = _settings(options)
    files = {"vae": settings.vae, **settings.encoders}
    built_in = ", ".join(name for name, file in files.items() if file.origin == BUILT_IN)
    if built_in:
        print(
            f"prepare: {BUILT_IN}: {built_in}; trained on rendered faces only, use the published models for real ones"
        )
    report = prepare(
        [path.absolute() for path in options.videos],
        settings,
        engine=options.engine,
        workers=options.workers,
        validation=options.validation,
        shards=options.shards,
        max_failures=options.max_failures,
        preview=options.preview and options.preview.absolute(),
    )
    for line in report.lines():
        print(line)
    data = options.output
    if not report.clips:
        raise KeySyncError(f"all {report.videos} videos were discarded: see {data / NAME} for the reasons")
    place = open_store(options.shards or data)
    print(f"prepare: {place.named(FILE)} is ready; {data / WORK} is needed only to prepare the data again")


def _settings(options: argparse.Namespace) -> Settings:
    # Absolute, so that workers on other machines and the training find the files from any folder.
    names = ("vae", *ENCODERS)
    given = {name: path.absolute() for name in names if (path := getattr(options, name))}
    files = {name: ModelFile.of(given.get(name, name)) for name in names if name in given or name in SMALL}
    resolution, crop_scale = (PUBLISHED_RESOLUTION, PUBLISHED_CROP_SCALE) if options.vae else (RESOLUTION, CROP_SCALE)
    least_quality, least_agreement = options.least_quality, options.least_agreement
    if least_quality is None:
        least_quality = quality.LEAST.get(options.quality, 0.0)
    if least_agreement is None:
        least_agreement = speaker.LEAST.get(options.speaker, 0.0)
    return Settings(
        data=options.output.absolute(),
        resolution=resolution if options.resolution is None else options.resolution,
        vae=files.pop("vae"),
        encoders=files,
        detector=options.detector,
        detector_weights=options.detector_weights and options.detector_weights.absolute(),
        quality=options.quality,
        least_quality=least_quality,
        speaker=options.speaker,
        least_agreement=least_agreement,
        device=options.device,
        crop_scale=crop_scale if options.crop_scale is None else options.crop_scale,
        emotion=options.emotion and ModelFile.of(options.emotion.absolute()),
        still=options.still,
        people=options.people,
        segment=options.segment,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description="Prepares videos for training.")
    add = parser.add_argument
    add("videos", nargs="+", type=Path, metavar="VIDEOS", help="videos, folders of videos, .txt files that list videos")
    add("-o", "--output", type=Path, required=True, metavar="DATA", help="folder of the shards and intermediate files")
    add("--shards", default="", metavar="URL", help="write the shards there, for example to s3://bucket/data")
    add(
        "--resolution",
        type=int,
        metavar="N",
        help=f"side of the crops in pixels; default: {PUBLISHED_RESOLUTION}, with the built-in VAE {RESOLUTION}",
    )
    add(
        "--crop-scale",
        type=float,
        metavar="X",
        help=f"width of a crop over that of the face; default: {PUBLISHED_CROP_SCALE:g}, with the built-in VAE "
        f"{CROP_SCALE:g}",
    )
    add(
        "--vae", type=Path, metavar="PATH", help="Stable Video Diffusion VAE: folder or file; default: the built-in one"
    )
    for name, encoder in ENCODERS.items():
        default = "the built-in one" if name in SMALL else "none"
        add(f"--{name}", dest=name, type=Path, metavar="PATH", help=f"{encoder.files}; default: {default}")
    add(
        "--emotion",
        type=Path,
        metavar="FILE",
        help="for KeyFace: TorchScript that reads valence and arousal (detector_8class_va.pt); default: none",
    )
    add("--still", action="store_true", help="for KeyFace: crops that stand still while the head moves in them")
    add("--detector", choices=sorted(DETECTORS), default="mediapipe", help="face detector; default: %(default)s")
    add("--detector-weights", type=Path, metavar="FOLDER", help="weights of a detector that needs files")
    add(
        "--quality",
        choices=[*quality.QUALITY, NONE],
        default="sharpness",
        help="image quality score; hyperiqa is licensed for non-commercial use only",
    )
    add("--least-quality", type=float, metavar="X", help="drop clips with a lower score")
    add(
        "--speaker",
        default="agreement",
        metavar="NAME",
        help="active-speaker score of lips against sound: agreement, none, module:function",
    )
    add("--least-agreement", type=float, metavar="X", help="drop clips with a lower score")
    add("--validation", type=float, default=0.05, metavar="SHARE", help="share of the people kept for validation")
    add(
        "--people",
        choices=PEOPLE,
        default=VIDEO,
        help="all clips of a person are in one split; a person is who is in a video, in a folder, or alike (default: "
        "%(default)s), or whom a .txt list names after a tab",
    )
    add(
        "--max-failures",
        type=_limit,
        default=MOST_FAILURES,
        metavar="N",
        help="videos that may fail, as when a library cannot get through them; more end the preparation; default: "
        "%(default)s",
    )
    add("--preview", type=Path, metavar="FILE", help="write a contact sheet of kept and dropped clips, PNG or JPEG")
    add("--engine", choices=sorted(ENGINES), default="local", help="local processes, or Ray (RAY_ADDRESS: a cluster)")
    add("--workers", type=_count, default=1, metavar="N", help="number of workers, one core each")
    add(
        "--segment",
        type=float,
        default=SEGMENT,
        metavar="S",
        help="longer videos are worked on in segments of so many seconds, by several workers; default: %(default)g",
    )
    add(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="device of the networks: cpu, cuda ..."
    )
    add("-v", "--verbose", action="store_true", help="report progress")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} workers: expected 1 or more")
    return int(text)


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} failures: expected 0 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
