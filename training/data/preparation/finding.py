"""The stages that find the clips of a video, and the files that each writes to its folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from keysync.face.crop import crop
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.method import NETWORK_RATE
from keysync.speech.features import FRAME

from . import encode
from .clips import NO_FACE, Clips, Limits, find_clips, select
from .division import at_cuts, between_clips, join_faces
from .faces import Faces, follow
from .models import Models
from .results import faces_of, grid_of, judged_frames, ranges_of, read_json, reader_of, waveform_of, write_json
from .shots import Shots, find_shots, load_detector
from .stage import Discard, Facts, Place, discards
from .videos import Range

UNREADABLE = "cannot be read"
NO_SOUND = "no sound"
# Quality is measured on crops of one size, so that a small face counts as blurred.
JUDGED_SIZE = (512, 512)


def probe(place: Place) -> Facts:
    """No file: checks that the video opens and has sound."""
    with discards(UNREADABLE):
        reader = VideoReader(place.video.path)
        seconds = reader.info.duration_seconds or reader.seconds()  # some recordings' headers do not tell
    if not reader.info.has_audio:
        raise Discard({NO_SOUND: (seconds, "it has no audio track")})
    return {"seconds": seconds}


def sound(place: Place) -> Facts:
    """waveform.npy: 16 kHz mono (n,) float32."""
    with discards(UNREADABLE, place.facts["probe"]["seconds"]):
        waveform, _ = read_speech(place.video.path)
    encode.save_array(place.folder / "waveform.npy", waveform.numpy())
    return {}


def shots(place: Place) -> Facts:
    """shots.json: start and stop of the shots, in seconds; pts.npy: of all frames."""
    load_detector()  # a missing package is not a reason to discard the video
    with discards(UNREADABLE, place.facts["probe"]["seconds"]):
        found = find_shots(place.video.path)
    return _keep_shots(place, found)


def one_shot(place: Place) -> Facts:
    """The same files, of the whole video as one shot, which the tracker splits where it sees a cut."""
    seconds = place.facts["probe"]["seconds"]
    with discards(UNREADABLE, seconds):
        reader = VideoReader(place.video.path)
        pts = reader.timestamps()
    return _keep_shots(place, Shots([(0.0, seconds)], pts, reader.facts()))


def follow_face(models: Models, place: Place) -> Facts:
    """faces.npz: the face in each frame; of a segment, in the frames that are seen for it."""
    with discards(UNREADABLE, place.facts["probe"]["seconds"]):
        faces = follow(reader_of(place, "shots"), grid_of(place), models.detector, place.segment)
    return _keep_faces(place, faces)


def shots_apart(longest: float, place: Place) -> list[Range]:
    """The segments that the face is followed in."""
    return at_cuts(grid_of(place), longest) if place.facts["probe"]["seconds"] * NETWORK_RATE > longest else []


def join_followed(longest: float, place: Place, parts: Sequence[Path]) -> Facts:
    """faces.npz of the whole video."""
    grid = grid_of(place)
    segments = at_cuts(grid, longest)
    return _keep_faces(place, join_faces(grid, segments, [Faces.load(part / "faces.npz") for part in parts]))


def clips(place: Place) -> Facts:
    """clips.json: all clips, before they are scored."""
    faces = faces_of(place)
    found = find_clips(faces, math.ceil(len(waveform_of(place)) / FRAME))
    return {**_keep(place, found), "seconds": len(faces.source) / NETWORK_RATE}


def speaker(models: Models, place: Place) -> Facts:
    """scores.json: the active-speaker score of each clip."""
    faces, waveform = faces_of(place), waveform_of(place)
    parts = [(faces.landmarks[a:b], waveform[a * FRAME : b * FRAME]) for a, b in ranges_of(place, "clips")]
    return write_json(place.folder / "scores.json", [float(models.speaker(*part)) for part in parts])


def clips_apart(stage: str, longest: float, place: Place) -> list[Range]:
    """The segments that a stage's clips are worked on in."""
    return between_clips(read_json(place.of(stage, "clips.json")), longest)


def quality(models: Models, place: Place) -> Facts:
    """scores.json: the image quality of each clip."""
    faces, reader = faces_of(place), reader_of(place, "faces")
    scores = []
    for start, stop in ranges_of(place, "clips"):
        judged = judged_frames(start, stop)
        boxes = faces.boxes(start, stop)[judged - start]
        frames = reader.pick(faces.pts, faces.source[judged])
        pictures = [crop(frame, box, JUDGED_SIZE) for frame, box in zip(frames, boxes, strict=True)]
        scores.append(float(models.quality(torch.stack(pictures))))
    return write_json(place.folder / "scores.json", scores)


def join_scores(place: Place, parts: Sequence[Path]) -> Facts:
    """scores.json of all clips."""
    return write_json(
        place.folder / "scores.json", [score for part in parts for score in read_json(part / "scores.json")]
    )


def selection(limits: Limits, place: Place) -> Facts:
    """clips.json: the selected clips."""
    scores = {name: read_json(place.of(name, "scores.json")) for name in limits}
    return _keep(place, select(ranges_of(place, "clips"), scores, limits))


def _keep(place: Place, held: Clips) -> Facts:
    """Only the ranges are in the file, so that later stages stay valid if the ranges do."""
    write_json(place.folder / "clips.json", held.ranges)
    return {"clips": [stop - start for start, stop in held.ranges], "lost": held.lost}


def _keep_shots(place: Place, found: Shots) -> Facts:
    encode.save_array(place.folder / "pts.npy", found.pts)
    write_json(place.folder / "shots.json", found.seconds)
    return {"told": asdict(found.told)}


def _keep_faces(place: Place, faces: Faces) -> Facts:
    """Raises `Discard` for a whole video without a face."""
    if place.segment is None and not faces.found.any():
        frames = len(faces.source)
        raise Discard({NO_FACE: (frames / NETWORK_RATE, f"{frames} of {frames} frames")})
    faces.save(place.folder / "faces.npz")
    return {"told": place.facts["shots"]["told"]}
