"""The command `animate`: a picture and a sound in, a talking head out."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from ..job import FaceSource
from ..media.audio import open_sound
from ..method import NETWORK_RATE
from ..report import check_report
from ..systems.keyface.emotion import CONTROLS, Emotion
from ..systems.keyface.emotion_plot import write_plot
from ..systems.table import HEADS
from ..who import read_choice
from .running import check_report_of, device_of, load, print_notes, run, settings_of

# Behind the name of the report: the curve of the emotion over the sound.
PLOT = ".emotion.png"


def animate(options: argparse.Namespace) -> None:
    """Makes the head in a picture say a sound, and prints what became of it.

    Raises `KeySyncError` for what a user can fix.
    """
    from ..animate import animate_file, check_animation

    (system,) = HEADS.values()
    emotion = Emotion.read(options.emotion_curve) if options.emotion_curve else Emotion.of(options.emotion)
    settings = settings_of(options, system)
    check_animation(options.picture, options.audio, options.output, settings, lossless=options.lossless)
    inputs = [options.picture, options.audio]
    check_report_of(options, inputs)
    plot = options.report and options.report.with_suffix(PLOT)
    if plot:
        check_report(plot, [path for path in (*inputs, options.landmarks, options.output, options.report) if path])
    device = device_of(options)
    face = FaceSource(
        read_choice(options.face), options.detector, options.detector_weights, options.landmarks, device=str(device)
    )
    models = load(options, system, device)
    emotion = emotion.accentuated() if options.accentuate else emotion
    job = partial(animate_file, options.picture, options.audio, options.output, models, emotion, settings, face)
    report = run(options, partial(job, as_original=options.as_original))
    if plot:
        curve = np.array([report.curves[name] for name in CONTROLS]).T
        write_plot(plot, curve, NETWORK_RATE, open_sound(options.audio))
    print(f"keysync: {options.output}: {report.frames} frames drawn")
    print_notes(report)
