"""Measures the results of all systems, clip by clip, and makes the rows of the table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.job import FaceSource, survey
from keysync.measure.figures import Figures
from keysync.measuring import measure_video
from keysync.media.reader import VideoReader
from keysync.media.source import SoundInMemory
from keysync.method import SAMPLE_RATE

from ..real.clips import RealClip
from .columns import COLUMNS
from .elo import elo
from .meters import Cell, Meter, Reading, Scores
from .pairs import CROSS, RECONSTRUCTION, SILENCE, Pair, path_of
from .results import result_of
from .table import Row
from .take import Take
from .votes import VOTES, read_votes

logger = logging.getLogger(__name__)

# The row of the clips themselves, which stand under reconstruction.
CLIPS = "the clips"
# Frames a second by which a result may differ from its clip and still show it frame by frame.
SAME_RATE = 0.02

# Readings of a video by the key of their column.
Readings = Mapping[str, Reading]


@dataclass
class Measurements:
    """Readings of all videos: `clips` by the name of the clip, `results` by system, protocol and the pair's name; and
    why results could not be measured, by their file."""

    clips: dict[str, Readings] = field(default_factory=dict)
    results: dict[tuple[str, str, str], Readings] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def measure_all(
    folder: Path, systems: Sequence[str], pairs: Iterable[Pair], meters: Mapping[str, Meter], seconds: float
) -> Measurements:
    """Reads all clips, and the results that systems have for these pairs; results are read up to `seconds`."""
    found = Measurements()
    for pair in pairs:
        if pair.clip.name not in found.clips:
            found.clips[pair.clip.name] = _read_clip(pair.clip, meters)
        for system in systems:
            path = result_of(folder, system, pair.protocol, pair.name)
            if path is None:
                continue
            try:
                readings = _read_result(path, pair, meters, seconds)
            except KeySyncError as error:
                found.unread[f"{system}/{pair.protocol}/{path.name}"] = str(error)
            else:
                found.results[system, pair.protocol, pair.name] = readings
            logger.info("%s, %s: %s is measured", system, pair.protocol, pair.name)
    return found


def _read_clip(clip: RealClip, meters: Mapping[str, Meter]) -> Readings:
    """What is read of a clip in its first frames, with the figures of `keysync measure` beside its own sound."""
    video = VideoReader(path_of(clip), 0, len(clip.sound) / SAMPLE_RATE)
    track = clip.track.at(np.arange(min(len(video.timestamps()), len(clip.times))))
    take = Take.of(video, track, clip.sound, _figures(video, clip.sound, FaceSource(track=track)))
    return {key: meter.read(take) for key, meter in meters.items() if RECONSTRUCTION in COLUMNS[key].where}


def _read_result(path: Path, pair: Pair, meters: Mapping[str, Meter], seconds: float) -> Readings:
    """What is read of a result; it is compared with its clip where it shows that frame by frame.

    Where it is dubbed with silence, only its own mouth counts.
    """
    video, clip = VideoReader(path, 0, seconds), pair.clip
    track = clip.track if _shows(video, clip) else survey(video, FaceSource())[1]
    wanted = [key for key in meters if pair.protocol in COLUMNS[key].where.values()]
    if pair.protocol == SILENCE:
        mine = FaceSource(track=track.at(np.arange(len(video.timestamps()))))
        take = Take.unseen(pair.speech, _figures(video, pair.speech, mine))
    else:
        source = clip.source if track is clip.track else None
        figures = _figures(video, pair.speech, FaceSource(track=track), source)
        take = Take.of(video, track, pair.speech, figures)
    return {key: meters[key].read(take) for key in wanted}


def _figures(video: VideoReader, speech: Tensor, face: FaceSource, source: VideoReader | None = None) -> Figures:
    sound = SoundInMemory("speech", speech[None], SAMPLE_RATE)
    return measure_video(video, sound, face, source=source).figures


def _shows(video: VideoReader, clip: RealClip) -> bool:
    """Whether a result has the size and the rate of its clip, and no more frames."""
    mine, its = video.info, clip.source.info
    same = (mine.width, mine.height) == (its.width, its.height)
    near = abs(float(mine.rate / its.rate) - 1) < SAME_RATE
    return same and near and len(video.timestamps()) <= len(clip.times)


def rows_of(
    folder: Path, systems: Sequence[str], pairs: Sequence[Pair], meters: Mapping[str, Meter], found: Measurements
) -> list[Row]:
    """The rows of both protocols: the clips themselves first, then the systems. Raises `KeySyncError` for bad votes."""
    votes = read_votes(folder / VOTES)
    rows = []
    for protocol in (RECONSTRUCTION, CROSS):
        mine = [pair for pair in pairs if pair.protocol == protocol]
        ratings = elo([vote for vote in votes if vote.protocol == protocol])
        counts = {name: sum(name in (v.left, v.right) and v.protocol == protocol for v in votes) for name in ratings}
        if protocol == RECONSTRUCTION:
            rows.append(Row(protocol, CLIPS, len(mine), len(mine), _clip_cells(mine, meters, found)))
        for system in systems:
            there = sum((system, protocol, pair.name) in found.results for pair in mine)
            if not there:
                continue
            cells = _cells(system, protocol, pairs, meters, found)
            cells["elo"] = Cell(ratings.get(system), counts.get(system, 0), "no votes: see training.vote")
            rows.append(Row(protocol, system, there, len(mine), cells))
    return rows


def _cells(
    system: str, protocol: str, pairs: Sequence[Pair], meters: Mapping[str, Meter], found: Measurements
) -> dict[str, Cell]:
    cells = {}
    for key, meter in meters.items():
        looked = COLUMNS[key].where.get(protocol)
        mine = [pair for pair in pairs if pair.protocol == looked]
        known = [pair for pair in mine if (system, pair.protocol, pair.name) in found.results]
        if looked is None or not known:
            continue
        made = [found.results[system, pair.protocol, pair.name].get(key) for pair in known]
        real = [found.clips[pair.clip.name].get(key) for pair in known]
        voices = [found.clips[pair.voice.name].get(key) if pair.voice else None for pair in known]
        cells[key] = meter.cell(made, real, voices)
    return cells


def _clip_cells(pairs: Sequence[Pair], meters: Mapping[str, Meter], found: Measurements) -> dict[str, Cell]:
    """The clips' own figures; they have no distance from themselves."""
    own = {key: meter for key, meter in meters.items() if isinstance(meter, Scores)}
    readings = {key: [found.clips[pair.clip.name].get(key) for pair in pairs] for key in own}
    return {key: meter.cell(readings[key], readings[key], readings[key]) for key, meter in own.items()}
