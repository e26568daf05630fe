"""Speaker and Speakers: several people dubbed by Lip Sync and Dub Video as by the library, and what they refuse."""

from __future__ import annotations

import importlib
import itertools
import json
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from numpy.typing import NDArray

FRAMES = 40
LIP_SYNC = {"system": "rewrite", "strength": 1.0, "sync_mode": "cut_off", "detector": "mediapipe", "face_index": 0}

pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def clip(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the built-in clip of two people."""
    path = tmp_path_factory.mktemp("clip") / "two.mp4"
    source = part("keysync.media.reader").VideoReader(part("keysync.assets").ASSETS / "talk_two.mp4")
    like = part("keysync.media.info").PictureFormat(
        source.info.width, source.info.height, Fraction(1, 25), Fraction(25)
    )
    with part("keysync.media.writer").VideoWriter(path, like) as writer:
        for pts, (_, frame) in enumerate(itertools.islice(source.frames(), FRAMES)):
            writer.write(frame, pts)
    return path


@pytest.fixture(scope="module")
def speech(extension: ModuleType) -> dict[str, Any]:
    """The demo's speech as AUDIO."""
    reader = part("keysync.media.audio").AudioReader(part("keysync.demo").SPEECH)
    waveform = torch.from_numpy(np.concatenate(list(reader.blocks()), axis=1))
    return {"waveform": waveform[None], "sample_rate": reader.rate}


def speaker(speech: dict[str, Any], face: str = "index", seconds: str = "", **more: Any) -> Any:
    """What Speaker says of a face."""
    chosen = {"face_index": 0, "face_x": 0, "face_y": 0} | more
    return part("nodes.speakers").Speaker.execute(speech, face, seconds=seconds, **chosen).args[0]


def speakers(*people: Any) -> Any:
    named = {f"speaker{number}": person for number, person in enumerate(people)}
    return part("nodes.speakers").JoinSpeakers.execute(named).args[0]


def lip_sync(clip: Path, audio: Any, **more: Any) -> tuple[NDArray[np.uint8], dict[str, Any], str]:
    """The frames, the report and the summary of Lip Sync."""
    node = part("nodes.rewrite").LipSync
    video, report, summary = node.execute(InputImpl.VideoFromFile(str(clip)), audio, **(LIP_SYNC | more)).args
    return frames_of(Path(video.get_stream_source())), json.loads(report), summary


def frames_of(path: Path) -> NDArray[np.uint8]:
    return np.stack([frame for _, frame in part("keysync.media.reader").VideoReader(path).frames()])


def test_the_schemas_are_complete(extension: ModuleType) -> None:
    for node in part("nodes.speakers").NODES:
        assert all(one.tooltip for one in node.GET_SCHEMA().inputs)
    for node in (part("nodes.rewrite").LipSync, part("nodes.dub").DubVideo):
        (audio,) = (one for one in node.GET_SCHEMA().inputs if one.id == "audio")
        assert audio.get_io_type() == "AUDIO,KEYSYNC_SPEAKERS"


def test_lip_sync_dubs_several_people_as_the_library_does(clip: Path, speech: dict[str, Any], tmp_path: Path) -> None:
    library, demo = part("keysync.speakers"), part("keysync.demo")
    loaded = part("keysync.systems.table").SYSTEMS["rewrite"].load({}, device=torch.device("cpu"), dtype=None)
    people = [library.read_speaker(f"{demo.SPEECH}@{parts}") for parts in ("0-0.8:face=0", "0.6-1.4:face=1")]
    settings, face = part("keysync.dub").Settings(), part("keysync.job").FaceSource()
    expected = library.dub_speakers(clip, people, tmp_path / "expected.mp4", loaded, settings, face).to_dict()
    both = speakers(speaker(speech, seconds="0-0.8"), speaker(speech, seconds="0.6-1.4", face_index=1))
    frames, report, summary = lip_sync(clip, both)
    assert np.array_equal(frames, frames_of(tmp_path / "expected.mp4"))
    assert report["ranges"] == json.loads(json.dumps(expected["ranges"]))
    assert [one["dubbed"] for one in report["speakers"]] == [one["dubbed"] for one in expected["speakers"]]
    assert not any("lossless" in note for note in report["notes"]), "that is so of the files in between"
    counts = [one["dubbed"] for one in report["speakers"]]
    assert min(counts) > 10
    assert summary.startswith(f"Dubbed face 0 in {counts[0]} and face 1 in {counts[1]} frames, in all ")


def test_a_person_is_chosen_by_a_picture_or_a_place(clip: Path, speech: dict[str, Any]) -> None:
    before = frames_of(clip)
    half = before.shape[2] // 2
    picture = torch.from_numpy(before[:1, :, half:]).float() / 255
    x, y = half // 2, before.shape[1] // 2
    by_picture = speaker(speech, "picture", "0-0.6", picture=picture)
    by_place = speaker(speech, "coordinates", "0.8-1.4", face_x=x, face_y=y)
    frames, report, _ = lip_sync(clip, speakers(by_picture, by_place))
    assert [one["face"] for one in report["speakers"]] == ["the picture", f"the face at {x}, {y}"]
    moved = np.abs(frames.astype(int) - before).max(-1) > 60
    assert moved[:15, :, half:].any((1, 2)).mean() > 0.5
    assert moved[20:35, :, :half].any((1, 2)).mean() > 0.5
    assert not moved[:15, :, :half].any()
    assert not moved[20:35, :, half:].any()


def test_dub_video_takes_speakers(extension: ModuleType, clip: Path, speech: dict[str, Any]) -> None:
    """What ends in the same function as Lip Sync, with a renderer that stands for the models."""
    dub, load = part("nodes.dub"), part("nodes.rewrite").load
    face = part("keysync.job").FaceSource(part("keysync.face.track").FaceChoice(2))
    both = speakers(speaker(speech, seconds="0-0.4"), speaker(speech, seconds="0-0.4", face_index=1))
    settings = part("keysync.dub").Settings()
    video = InputImpl.VideoFromFile(str(clip))
    _, report = dub.dub(video, both, load("rewrite", None), settings, face, dub.NodeProgress())
    assert [one["dubbed"] for one in report.speakers] == [10, 10]
    assert report.notes[-1] == "face_index 2 has no effect: each Speaker has its own face"


def test_what_several_speakers_refuse(clip: Path, speech: dict[str, Any], error: type[Exception]) -> None:
    one = speaker(speech)
    with pytest.raises(error, match="'5-2' in '0-1, 5-2' is not a part: expected START-STOP in seconds"):
        speaker(speech, seconds="0-1, 5-2")
    with pytest.raises(error, match="face is picture but nothing is connected to picture"):
        speaker(speech, "picture")
    with pytest.raises(error, match="there is no speaker: connect one Speaker or more"):
        speakers(None)
    with pytest.raises(error, match=r"are the same person in the video: .* \(set it in Speaker\)"):
        lip_sync(clip, speakers(one, one))
    with pytest.raises(error, match="a lips curve is of one voice and audio of several: disconnect lips"):
        lip_sync(clip, speakers(one), lips=part("nodes.lips").LipsCurveFromSpeech.execute(speech, 25.0).args[0])
    track = part("nodes.host.sockets").Faces(part("keysync.face.track").from_landmarks([None], (8, 8)))
    with pytest.raises(error, match="track is of one face and audio of several: disconnect track"):
        lip_sync(clip, speakers(one), track=track)
