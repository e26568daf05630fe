"""The command `animate`: a picture and a sound in, a talking head out."""

from __future__ import annotations

import argparse
from functools import partial

from ..job import FaceSource
from ..systems.keyface.emotion import Emotion
from ..systems.table import HEADS
from ..who import read_choice
from .running import check_report_of, device_of, load, print_notes, run, settings_of


def animate(options: argparse.Namespace) -> None:
    """Makes the head in a picture say a sound, and prints what became of it.

    Raises `KeySyncError` for what a user can fix.
    """
    from ..animate import animate_file, check_animation

    (system,) = HEADS.values()
    emotion = Emotion.read(options.emotion_curve) if options.emotion_curve else Emotion.of(options.emotion)
    settings = settings_of(options, system)
    check_animation(options.picture, options.audio, options.output, settings, lossless=options.lossless)
    check_report_of(options, [options.picture, options.audio])
    device = device_of(options)
    face = FaceSource(
        read_choice(options.face), options.detector, options.detector_weights, options.landmarks, device=str(device)
    )
    models = load(options, system, device)
    emotion = emotion.accentuated() if options.accentuate else emotion
    job = partial(animate_file, options.picture, options.audio, options.output, models, emotion, settings, face)
    report = run(options, partial(job, as_original=options.as_original))
    print(f"keysync: {options.output}: {report.frames} frames drawn")
    print_notes(report)
