"""The stages that make the parts of a video's clips, and the files that each writes to its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keysync.face.likeness import CHANNELS, likeness_reader, mean_look
from keysync.method import NETWORK_RATE

from ..parts import EMOTION
from . import encode
from .chain import DONE
from .division import link_files
from .models import Models
from .results import faces_of, judged_frames, key_of, ranges_of, read_json, reader_of, waveform_of, write_json
from .stage import Facts, Place


def labels(scorers: dict[str, str], place: Place) -> Facts:
    """KEY.json: the metadata of a clip."""
    named = {"quality": scorers.get("quality", "sharpness"), "speaker": "speaker_score"}
    found = ranges_of(place, "clips")
    scores = {named[name]: dict(zip(found, read_json(place.of(name, "scores.json")), strict=True)) for name in scorers}
    for start, stop in ranges_of(place, "selection"):
        label = {
            "video": place.video.name,
            "start": start / NETWORK_RATE,
            "frames": stop - start,
            "seconds": (stop - start) / NETWORK_RATE,
            "sharpness": None,
            "speaker_score": None,
            **{name: held[start, stop] for name, held in scores.items()},
        }
        write_json(place.folder / f"{key_of(place.video, start)}.json", label)
    return {}


def crops(size: tuple[int, int], scale: float, still: bool, place: Place) -> Facts:
    """KEY.mp4 and KEY.landmarks.npy."""
    faces, reader = faces_of(place), reader_of(place, "faces")
    for start, stop in ranges_of(place, "selection"):
        encode.write_crops(reader, faces, start, stop, size, place.folder, key_of(place.video, start), scale, still)
    return {}


def features(models: Models, name: str, place: Place) -> Facts:
    """rows.npy: the features of a speech encoder for the whole video."""
    rows = encode.speech_rows(waveform_of(place), models.encoders[name])
    encode.save_array(place.folder / "rows.npy", rows)
    return {}


def speech(encoders: Sequence[str], place: Place) -> Facts:
    """KEY.flac and KEY.ENCODER.npy: each clip's part of the sound and of the features."""
    waveform = waveform_of(place)
    rows = {name: np.load(place.of(name, "rows.npy"), mmap_mode="r", allow_pickle=False) for name in encoders}
    for start, stop in ranges_of(place, "selection"):
        key = key_of(place.video, start)
        encode.write_sound(waveform, start, stop, place.folder, key)
        for name in encoders:
            encode.write_rows(rows[name], range(start, stop), place.folder, key, name)
    return {}


def latents(models: Models, size: tuple[int, int], scale: float, still: bool, place: Place) -> Facts:
    """KEY.latents.npy."""
    faces, reader = faces_of(place), reader_of(place, "faces")
    for start, stop in ranges_of(place, "selection"):
        pictures = encode.crops(reader, faces, start, stop, size, scale, still)
        encode.write_latents(models.vae, pictures, place.folder, key_of(place.video, start))
    return {}


def looks(place: Place) -> Facts:
    """looks.npy: the look (n, c) of each clip, NaN for one whose face tells nothing."""
    faces, reader, judge = faces_of(place), reader_of(place, "faces"), likeness_reader()
    found = []
    for start, stop in ranges_of(place, "selection"):
        judged = judged_frames(start, stop)
        frames = reader.pick(faces.pts, faces.source[judged])
        each = [judge.look(frame, faces.landmarks[at]) for frame, at in zip(frames, judged, strict=True)]
        look = mean_look(one for one in each if one is not None)
        found.append(np.full(CHANNELS, np.nan, np.float32) if look is None else look)
    encode.save_array(place.folder / "looks.npy", np.stack(found))
    return {}


def join_looks(place: Place, parts: Sequence[Path]) -> Facts:
    """looks.npy of all clips."""
    found = [np.load(part / "looks.npy", allow_pickle=False) for part in parts]
    encode.save_array(place.folder / "looks.npy", np.concatenate(found))
    return {}


def emotion(models: Models, place: Place) -> Facts:
    """KEY.emotion.npy: valence and arousal of each frame."""
    predictor, faces, reader = models.emotion, faces_of(place), reader_of(place, "faces")
    assert predictor is not None
    for start, stop in ranges_of(place, "selection"):
        frames = reader.pick(faces.pts, faces.source[start:stop])
        read = predictor.read(frames, faces.landmarks[start:stop])
        encode.save_array(place.folder / f"{key_of(place.video, start)}.{EMOTION}", read)
    return {}


def join_files(place: Place, parts: Sequence[Path]) -> Facts:
    """The files of all clips."""
    link_files(place.folder, parts, leave_out=DONE)
    return {}
