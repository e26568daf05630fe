"""The command `live`: frames and sound in as they come, dubbed frames out soon after."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import torch

from ..behind import ahead
from ..errors import KeySyncError
from ..face.detectors import make_detector
from ..face.track import FaceChoice
from ..job import FaceSource, survey
from ..live.choices import RAW, STANDARD
from ..live.inputs import is_stream, open_sound, open_video
from ..live.live import Live
from ..live.person import meet_person
from ..live.run import READ_AHEAD, run_live
from ..live.sinks import Passing, open_sink
from ..media.reader import VideoReader
from ..provenance import Provenance
from ..signals import gently
from ..systems.renderer import FromFiles, Remarking, Streaming, Surveyor
from ..systems.table import LIVE
from ..threads import threads
from ..weights.checkpoint import DTYPES
from ..who import read_choice
from .running import device_of

# Seconds that a frame may wait longer than a batch and what it needs ahead last.
SPARE = 1.0
# Blocks of sound that are read ahead of a live source, of 20 ms and more.
BLOCKS = round(READ_AHEAD / 0.02)


def live(options: argparse.Namespace) -> None:
    """Dubs until the source ends or a signal comes, and prints what became of the frames.

    Raises `KeySyncError` for what a user can fix.
    """
    say = partial(print, file=sys.stderr if options.output == STANDARD else None, flush=True)
    _check(options)
    choice = read_choice(options.face)
    system, device = LIVE[options.system], device_of(options)
    sampling = system.settings(options)
    torch.set_num_threads(threads(torch.get_num_threads()))
    files = {option.name: getattr(options, option.name) for option in system.files}
    models = system.load(files, device=device, dtype=DTYPES[options.dtype] if options.dtype else None)
    assert isinstance(models, Streaming)
    models = _with_person(options, models, choice, str(device))
    detector = make_detector(options.detector, options.detector_weights, device=str(device))
    with closing(detector):
        video = open_video(options.video, options.raw, paced=options.real_time)
        sound = open_sound(options.audio)
        dub = Live(
            models,
            detector,
            float(video.form.rate),
            choice=choice,
            sampling=sampling,
            seed=options.seed,
            mask=options.mask,
            batch=options.batch,
        )
        limit = _limit(options, dub, float(video.form.rate)) if video.is_live and not options.wait else None
        held = f"a frame waits for up to {dub.most_held - 1} more"
        say(f"keysync: {video.form.width}x{video.form.height}, {float(video.form.rate):g} frames a second; {held}")
        mark = Provenance.of(models.system, models.origins, models.files if isinstance(models, FromFiles) else {})
        with gently() as stopped, closing(ahead(sound.blocks(), BLOCKS if is_stream(options.audio) else 1)) as blocks:
            passing = Passing(sound, blocks)
            sink = open_sink(options.output, video.form, passing, options.format, mark if options.provenance else None)
            delays = run_live(video, passing, dub, sink, limit=limit, stopped=stopped)
    first, *lines = delays.lines()
    say(f"keysync: {options.output}: {first}")
    for line in (*lines, *(models.remarks(sampling) if isinstance(models, Remarking) else ())):
        say(f"  {line}")
    if options.format == RAW and options.provenance:
        say("  raw frames cannot say that they are synthetic: say it where they are shown")


def _limit(options: argparse.Namespace, dub: Live, rate: float) -> float:
    """How many seconds a frame may wait. Raises `KeySyncError` for fewer than every batch takes to arrive."""
    least = dub.most_held / rate
    if options.latency is None:
        return least + SPARE
    if options.latency < least:
        raise KeySyncError(
            f"a latency of {options.latency:g} s: a batch and the frames ahead of it take {least:.2f} s to arrive; "
            "choose more, or a smaller batch",
            about="latency",
        )
    seconds: float = options.latency
    return seconds


def _check(options: argparse.Namespace) -> None:
    """Raises `KeySyncError` for options that have no effect or do not go together."""
    if options.video == options.audio == STANDARD:
        raise KeySyncError("frames and sound cannot both be the standard input: use a named pipe for one of them")
    if options.raw is not None and not is_stream(options.video):
        raise KeySyncError(
            f"{options.video} is a file, which says its size itself: raw frames come from pipes", about="raw"
        )
    if options.real_time and is_stream(options.video):
        raise KeySyncError("a pipe or a device has its own speed: leave out real-time", about="real_time")


def _with_person(options: argparse.Namespace, models: Streaming, choice: FaceChoice, device: str) -> Streaming:
    """The models that know the person of a clip, where one is given."""
    clip: Path | None = options.person
    if clip is None:
        return models
    if not isinstance(models, Surveyor):
        raise KeySyncError(f"the system {models.system} takes no references: leave out the clip", about="person")
    source = VideoReader(clip)
    pts, track = survey(
        source, FaceSource(FaceChoice(choice.index), options.detector, options.detector_weights, device=device)
    )
    return meet_person(models, source, pts, track)
