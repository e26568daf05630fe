"""The stages of a preparation, in order, and the files that each writes to its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from keysync.face.crop import crop
from keysync.face.likeness import CHANNELS, likeness_reader, mean_look
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.method import NETWORK_RATE
from keysync.speech.features import FRAME

from ..parts import EMOTION
from . import encode
from .chain import Chain, Discard, Facts, Place, Stage, discards
from .clips import NO_FACE, Clips, Limits, Range, find_clips, select
from .faces import Faces, follow
from .models import Models, open_models
from .people import LIKENESS, Looks
from .settings import NONE, SCENEDETECT, Settings
from .shards import ClipFiles
from .shots import find_shots, load_detector
from .turns import use_own_gpu
from .videos import Video

WORK = "work"
UNREADABLE = "cannot be read"
NO_SOUND = "no sound"
POOR_PICTURE = "poor picture"
OTHER_VOICE = "lips not seen to follow the speech"
# Quality is measured on this many crops per clip, all of one size, so that a small face counts as blurred.
JUDGED, JUDGED_SIZE = 8, (512, 512)
# Stages whose files are the parts of a clip.
PARTS = ("labels", "crops", "speech", "latents")
EMOTION_PART = "emotion"  # only with a predictor


@lru_cache(maxsize=1)
def open_chain(settings: Settings) -> Chain:
    """The chain of these settings, cached per process.

    Limits the process to one thread, so that the bytes of the results do not depend on the number of cores.
    """
    torch.set_num_threads(1)
    use_own_gpu(settings.device)
    return Chain(settings.data / WORK, table(settings, open_models(settings)))


def table(settings: Settings, models: Models) -> list[Stage]:
    """All stages, in order."""
    s = settings
    scorers: dict[str, Stage] = {}
    if s.speaker != NONE:
        made_of = {"scorer": s.speaker}
        scorers["speaker"] = Stage("speaker", partial(speaker, models), ("faces", "sound", "clips"), made_of)
    if s.quality != NONE:
        made_of = {"scorer": s.quality}
        gpu = _is_gpu(s.device_of(s.quality))
        scorers["quality"] = Stage("quality", partial(quality, models), ("faces", "clips"), made_of, gpu=gpu)
    names = {name: stage.settings["scorer"] for name, stage in scorers.items()}
    limits = {"speaker": (s.least_agreement, OTHER_VOICE), "quality": (s.least_quality, POOR_PICTURE)}
    limits = {name: limits[name] for name in scorers}
    detector = {"detector": s.detector, "weights": str(s.detector_weights)}
    cuts = Stage("shots", shots, ("probe",))
    if s.cuts != SCENEDETECT:
        cuts = Stage("shots", one_shot, ("probe",), {"cuts": s.cuts})
    framed = {"size": s.size, "crop_scale": s.crop_scale, **({"still": True} if s.still else {})}
    frame = s.size, s.crop_scale, s.still
    felt = []
    if s.emotion is not None:
        made_of = {"model": s.emotion.digest}
        felt.append(Stage("emotion", partial(emotion, models), ("faces", "selection"), made_of, gpu=_is_gpu(s.device)))
    seen = [Stage("looks", looks, ("faces", "selection"))] if s.people == LIKENESS else []
    gpu = _is_gpu(s.device)
    return [
        Stage("probe", probe),
        Stage("sound", sound, ("probe",)),
        cuts,
        Stage(
            "faces", partial(follow_face, models), ("probe", "shots"), detector, gpu=_is_gpu(s.device_of(s.detector))
        ),
        Stage("clips", clips, ("faces", "sound")),
        *scorers.values(),
        Stage("selection", partial(selection, limits), ("clips", *scorers), {"limits": limits}),
        Stage("labels", partial(labels, names), ("selection", "clips", *scorers), {"scorers": names}),
        Stage("crops", partial(crops, *frame), ("faces", "selection"), framed),
        *(
            Stage(name, partial(features, models, name), ("sound",), {"model": file.digest}, gpu=gpu)
            for name, file in s.encoders.items()
        ),
        Stage("speech", partial(speech, tuple(s.encoders)), ("sound", "selection", *s.encoders)),
        Stage(
            "latents",
            partial(latents, models, *frame),
            ("faces", "selection"),
            {**framed, "vae": s.vae.digest},
            gpu=gpu,
        ),
        *felt,
        *seen,
    ]


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
    """shots.json: start and stop of the shots, in seconds."""
    load_detector()  # a missing package is not a reason to discard the video
    with discards(UNREADABLE, place.facts["probe"]["seconds"]):
        found = find_shots(place.video.path)
    return _write(place.folder / "shots.json", found)


def one_shot(place: Place) -> Facts:
    """shots.json: the whole video as one shot, which the tracker splits where it sees a cut."""
    return _write(place.folder / "shots.json", [(0.0, place.facts["probe"]["seconds"])])


def follow_face(models: Models, place: Place) -> Facts:
    """faces.npz: the face in each frame."""
    cuts = _read(place.of("shots", "shots.json"))
    detector = models.detector
    with discards(UNREADABLE, place.facts["probe"]["seconds"]):
        faces = follow(VideoReader(place.video.path), cuts, detector)
    if not faces.track.found.any():
        frames = len(faces.source)
        raise Discard({NO_FACE: (frames / NETWORK_RATE, f"{frames} of {frames} frames")})
    faces.save(place.folder / "faces.npz")
    return {}


def clips(place: Place) -> Facts:
    """clips.json: all clips, before they are scored."""
    faces = _faces(place)
    found = find_clips(faces, math.ceil(len(_waveform(place)) / FRAME))
    return {**_keep(place, found), "seconds": len(faces.source) / NETWORK_RATE}


def speaker(models: Models, place: Place) -> Facts:
    """scores.json: the active-speaker score of each clip."""
    faces, waveform = _faces(place), _waveform(place)
    parts = [(faces.landmarks[a:b], waveform[a * FRAME : b * FRAME]) for a, b in _ranges(place, "clips")]
    return _write(place.folder / "scores.json", [float(models.speaker(*part)) for part in parts])


def quality(models: Models, place: Place) -> Facts:
    """scores.json: the image quality of each clip."""
    faces, reader = _faces(place), VideoReader(place.video.path)
    scores = []
    for start, stop in _ranges(place, "clips"):
        judged = np.unique(np.linspace(start, stop - 1, JUDGED).round().astype(np.int64))
        boxes = faces.boxes(start, stop)[judged - start]
        frames = reader.pick(faces.pts, faces.source[judged])
        pictures = [crop(frame, box, JUDGED_SIZE) for frame, box in zip(frames, boxes, strict=True)]
        scores.append(float(models.quality(torch.stack(pictures))))
    return _write(place.folder / "scores.json", scores)


def selection(limits: Limits, place: Place) -> Facts:
    """clips.json: the selected clips."""
    scores = {name: _read(place.of(name, "scores.json")) for name in limits}
    return _keep(place, select(_ranges(place, "clips"), scores, limits))


def labels(scorers: dict[str, str], place: Place) -> Facts:
    """KEY.json: the metadata of a clip."""
    named = {"quality": scorers.get("quality", "sharpness"), "speaker": "speaker_score"}
    found = _ranges(place, "clips")
    scores = {named[name]: dict(zip(found, _read(place.of(name, "scores.json")), strict=True)) for name in scorers}
    for start, stop in _ranges(place, "selection"):
        label = {
            "video": place.video.name,
            "start": start / NETWORK_RATE,
            "frames": stop - start,
            "seconds": (stop - start) / NETWORK_RATE,
            "sharpness": None,
            "speaker_score": None,
            **{name: held[start, stop] for name, held in scores.items()},
        }
        _write(place.folder / f"{_key(place.video, start)}.json", label)
    return {}


def crops(size: tuple[int, int], scale: float, still: bool, place: Place) -> Facts:
    """KEY.mp4 and KEY.landmarks.npy."""
    faces, reader = _faces(place), VideoReader(place.video.path)
    for start, stop in _ranges(place, "selection"):
        encode.write_crops(reader, faces, start, stop, size, place.folder, _key(place.video, start), scale, still)
    return {}


def features(models: Models, name: str, place: Place) -> Facts:
    """rows.npy: the features of a speech encoder for the whole video."""
    rows = encode.speech_rows(_waveform(place), models.encoders[name])
    encode.save_array(place.folder / "rows.npy", rows)
    return {}


def speech(encoders: Sequence[str], place: Place) -> Facts:
    """KEY.flac and KEY.ENCODER.npy: each clip's part of the sound and of the features."""
    waveform = _waveform(place)
    rows = {name: np.load(place.of(name, "rows.npy"), mmap_mode="r", allow_pickle=False) for name in encoders}
    for start, stop in _ranges(place, "selection"):
        key = _key(place.video, start)
        encode.write_sound(waveform, start, stop, place.folder, key)
        for name in encoders:
            encode.write_rows(rows[name], range(start, stop), place.folder, key, name)
    return {}


def latents(models: Models, size: tuple[int, int], scale: float, still: bool, place: Place) -> Facts:
    """KEY.latents.npy."""
    faces, reader = _faces(place), VideoReader(place.video.path)
    for start, stop in _ranges(place, "selection"):
        pictures = encode.crops(reader, faces, start, stop, size, scale, still)
        encode.write_latents(models.vae, pictures, place.folder, _key(place.video, start))
    return {}


def looks(place: Place) -> Facts:
    """looks.npy: the look (n, c) of each clip, NaN for one whose face tells nothing."""
    faces, reader, judge = _faces(place), VideoReader(place.video.path), likeness_reader()
    found = []
    for start, stop in _ranges(place, "selection"):
        judged = np.unique(np.linspace(start, stop - 1, JUDGED).round().astype(np.int64))
        frames = reader.pick(faces.pts, faces.source[judged])
        each = [judge.look(frame, faces.landmarks[at]) for frame, at in zip(frames, judged, strict=True)]
        look = mean_look(one for one in each if one is not None)
        found.append(np.full(CHANNELS, np.nan, np.float32) if look is None else look)
    encode.save_array(place.folder / "looks.npy", np.stack(found))
    return {}


def looks_of(chain: Chain, video: Video) -> dict[str, Looks]:
    """The look of each clip of a video that has passed all stages, by its key."""
    found = np.load(chain.result(video, "looks") / "looks.npy", allow_pickle=False)
    ranges = _read(chain.result(video, "selection") / "clips.json")
    return {_key(video, start): look for (start, _), look in zip(ranges, found, strict=True)}


def emotion(models: Models, place: Place) -> Facts:
    """KEY.emotion.npy: valence and arousal of each frame."""
    predictor, faces, reader = models.emotion, _faces(place), VideoReader(place.video.path)
    assert predictor is not None
    for start, stop in _ranges(place, "selection"):
        frames = reader.pick(faces.pts, faces.source[start:stop])
        read = predictor.read(frames, faces.landmarks[start:stop])
        encode.save_array(place.folder / f"{_key(place.video, start)}.{EMOTION}", read)
    return {}


def clip_files(chain: Chain, video: Video) -> list[ClipFiles]:
    """The clips of a video that has passed all stages."""
    ranges = [(start, stop) for start, stop in _read(chain.result(video, "selection") / "clips.json")]
    parts = [stage.name for stage in chain.stages if stage.name in (*PARTS, EMOTION_PART)]
    found = []
    for start, stop in ranges:
        key = _key(video, start)
        files = [file for stage in parts for file in sorted(chain.result(video, stage).glob(f"{key}.*"))]
        found.append(ClipFiles.of(key, video.id, stop - start, files))
    return found


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")


def _key(video: Video, start: int) -> str:
    return f"{video.id}-{start:06}"


def _keep(place: Place, held: Clips) -> Facts:
    """Only the ranges are in the file, so that later stages stay valid if the ranges do."""
    _write(place.folder / "clips.json", held.ranges)
    return {"clips": [stop - start for start, stop in held.ranges], "lost": held.lost}


def _ranges(place: Place, stage: str) -> list[Range]:
    return [(start, stop) for start, stop in _read(place.of(stage, "clips.json"))]


def _faces(place: Place) -> Faces:
    return Faces.load(place.of("faces", "faces.npz"))


def _waveform(place: Place) -> Tensor:
    return torch.from_numpy(np.load(place.of("sound", "waveform.npy"), allow_pickle=False))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, value: Any) -> Facts:
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
    return {}
