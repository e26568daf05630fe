"""The commands `dub` and `demo`, and each job of a `batch`: a video and new speech in, the dubbed video out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache import Cache
from ..demo import SPEECH, TALK
from ..errors import KeySyncError, concerning
from ..face.occlusion import AUTO
from ..face.track import FaceChoice
from ..job import FaceSource, check_job, dub_file
from ..media.container import open_input
from ..media.writer import check_output
from ..report import DUBBED, PASSED_THROUGH
from ..systems.flashlips.system import FLASHLIPS
from ..systems.keysync.small import BUILT_IN
from ..systems.keysync.system import KEYSYNC
from ..systems.renderer import Option, System
from ..systems.table import AUTOMATIC, SYSTEMS
from ..who import EVERYONE, read_choice
from .running import Loaded, check_report_of, device_of, load, print_notes, run, settings_of

if TYPE_CHECKING:
    from ..speakers import Speaker


def dub(options: argparse.Namespace) -> None:
    """Dubs a video with one speech, or with the speech of each speaker."""
    from ..speakers import read_speaker

    speakers = [read_speaker(text) for text in options.speaker]
    if (options.audio is None) != bool(speakers):
        raise KeySyncError(
            "the speech is missing or given twice: expected either AUDIO or one --speaker for each person"
        )
    dub_one(options, options.video, options.audio, speakers)


def demo(options: argparse.Namespace) -> None:
    """Dubs the built-in video."""
    options.landmarks = options.occluder = options.detector_weights = None
    options.detector, options.face, options.same_person = "mediapipe", "0", False
    options.system = options.system or KEYSYNC.name
    dub_one(options, TALK, SPEECH)


def dub_one(
    options: argparse.Namespace,
    video: Path,
    audio: Path | None,
    speakers: Sequence[Speaker] = (),
    loaded: Loaded | None = None,
) -> None:
    """Runs one dub and prints what became of it. Everything is checked before anything large is loaded.

    Raises `KeySyncError` for what a user can fix.
    """
    from ..speakers import dub_everyone, dub_speakers

    sounds = [audio] if audio else [Path(str(speaker.sound)) for speaker in speakers]
    _check_files(options, video, sounds)
    everyone = options.face == EVERYONE
    if speakers and options.face != "0":
        raise KeySyncError("--face has no effect with --speaker: name the face in --speaker, or leave out --face")
    if (speakers or everyone) and options.cache:
        raise KeySyncError("a cache has no effect on several speakers: leave out --cache")
    choice = FaceChoice() if everyone or speakers else read_choice(options.face, kept=options.same_person)
    system, device = chosen_system(options), device_of(options)
    settings = settings_of(
        options,
        system,
        sync_mode=options.sync_mode,
        mask=options.mask,
        quiet_mouth=options.quiet_mouth,
        align=options.align,
    )
    for sound in sounds:
        check_job(video, sound, options.output, settings, occluder=options.occluder, lossless=options.lossless)
    face = FaceSource(choice, options.detector, options.detector_weights, options.landmarks, device=str(device))
    models = load(options, system, device, loaded)
    built_in = ", ".join(name for name, origin in models.origins.items() if origin == BUILT_IN)
    if built_in and system != FLASHLIPS:  # which notes what it knows
        print(
            f"keysync: {BUILT_IN}: {built_in}; trained on rendered faces, real faces need the published weights",
            flush=True,
        )
    job = partial(dub_speakers, video, speakers) if speakers else partial(dub_everyone, video, sounds[0])
    if not speakers and not everyone:
        job = partial(dub_file, video, sounds[0], cache=Cache(options.cache) if options.cache else None)
    report = run(options, partial(job, options.output, models, settings, face, occluder=options.occluder))
    dubbed, passed = report.count(DUBBED), report.count(PASSED_THROUGH)
    print(f"keysync: {options.output}: {dubbed} frames dubbed, {passed} passed through unchanged")
    for part in report.ranges:
        if part.state == PASSED_THROUGH:
            print(f"  frames {part.first}-{part.last} unchanged: {part.reason}")
    print_notes(report)


def chosen_system(options: argparse.Namespace) -> System:
    """The system that is asked for; without a word, the one that the given files belong to, or what suits the clip.

    Raises `KeySyncError` for files of another system: they would have no effect.
    """
    given = {name for name, option in _file_options().items() if getattr(options, name) is not None}
    if options.system is None and not given:
        return AUTOMATIC
    files = {system.name: {option.name for option in system.files} for system in SYSTEMS.values()}
    # Files name a system of their own; auto has none, but takes those of others.
    guess = max((name for name in files if name != AUTOMATIC.name), key=lambda name: len(given & files[name]))
    system = SYSTEMS[options.system or guess]
    foreign = given - files[system.name]
    if foreign:
        flag = _file_options()[min(foreign)].flag
        raise KeySyncError(f"the system {system.name} does not use {flag}: leave it out, or choose another system")
    return system


def _check_files(options: argparse.Namespace, video: Path, sounds: Sequence[Path]) -> None:
    masks = None if options.occluder == AUTO else options.occluder
    inputs = [path for path in (video, *sounds, masks) if path]
    for path in inputs:
        with concerning("occluder") if path is masks else nullcontext(), open_input(path):
            pass
    check_output(options.output, inputs, lossless=options.lossless)
    check_report_of(options, inputs)


def _file_options() -> dict[str, Option]:
    return {option.name: option for system in SYSTEMS.values() for option in system.files}
