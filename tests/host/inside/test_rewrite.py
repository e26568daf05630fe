"""Lip Sync and the nodes of its steps: the frames of the command line, without a file to load."""

from __future__ import annotations

import importlib
import itertools
import json
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from numpy.typing import NDArray
from torch import Tensor

FRAMES = 32
CHOICES = {
    "system": "rewrite",
    "strength": 1.2,
    "sync_mode": "cut_off",
    "detector": "mediapipe",
    "face_index": 0,
}

pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.rewrite")


@pytest.fixture(scope="module")
def clip(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the demo's clip, in which a rendered person speaks."""
    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    like = part("keysync.media.info").PictureFormat(320, 320, Fraction(1, 25), Fraction(25))
    with part("keysync.media.writer").VideoWriter(path, like) as writer:
        frames = part("keysync.media.reader").VideoReader(part("keysync.demo").TALK).frames()
        for pts, (_, frame) in enumerate(itertools.islice(frames, FRAMES)):
            writer.write(frame, pts)
    return path


@pytest.fixture(scope="module")
def speech(extension: ModuleType) -> dict[str, Any]:
    """The demo's speech as AUDIO."""
    reader = part("keysync.media.audio").AudioReader(part("keysync.demo").SPEECH)
    waveform = torch.from_numpy(np.concatenate(list(reader.blocks()), axis=1))
    return {"waveform": waveform[None], "sample_rate": reader.rate}


@pytest.fixture(scope="module")
def images(clip: Path) -> Tensor:
    frames = [frame for _, frame in part("keysync.media.reader").VideoReader(clip).frames()]
    return torch.from_numpy(np.stack(frames)).float() / 255


@pytest.fixture(scope="module")
def cropped(images: Tensor) -> tuple[Tensor, Any, Tensor]:
    """Crops, track and masks for Choose Mouths."""
    face = part("nodes.face")
    track = face.TrackFace.execute(images, "mediapipe", "largest", 0, 0, 0).args[0]
    crops, track = face.CropFace.execute(images, track).args
    return crops, track, part("nodes.mask").MouthMask.execute(track, "box").args[0]


@dataclass
class Drawn:
    """What dubs pasted, and what they gave to their writer."""

    pictures: list[Tensor] = field(default_factory=list)
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    record, writer, paste = Drawn(), part("keysync.job").VideoWriter, part("keysync.dub").Dub._paste

    class Recorder(writer):  # type: ignore[misc, valid-type]
        def write(self, frame: NDArray[np.uint8], pts: int) -> None:
            record.frames.append(frame.copy())
            super().write(frame, pts)

    def pasted(self: Any, original: Any, picture: Tensor, *others: Any) -> Any:
        record.pictures.append(picture)
        return paste(self, original, picture, *others)

    monkeypatch.setattr(part("keysync.job"), "VideoWriter", Recorder)
    monkeypatch.setattr(part("keysync.dub").Dub, "_paste", pasted)
    return record


def lip_sync(node: Any, clip: Path, speech: dict[str, Any], **more: Any) -> tuple[Any, dict[str, Any]]:
    video, text, _ = node.LipSync.execute(InputImpl.VideoFromFile(str(clip)), speech, **(CHOICES | more)).args
    return video, json.loads(text)


def test_the_schema_is_complete(node: Any) -> None:
    schema = node.LipSync.GET_SCHEMA()
    assert schema.node_id == "KeySyncLipSync"
    assert next(one for one in schema.inputs if one.id == "system").options == ["auto", "rewrite", "keysync"]
    steps = (*part("nodes.lips").NODES, *part("nodes.mouths").NODES)
    assert all(one.tooltip for made in (node.LipSync, *steps) for one in made.GET_SCHEMA().inputs)


def test_the_frames_of_the_command_line_in_one_node_and_step_by_step(
    node: Any, clip: Path, speech: dict[str, Any], images: Tensor, cropped: Any, drawn: Drawn, tmp_path: Path
) -> None:
    job, dub, rewriter = (part(f"keysync.{name}") for name in ("job", "dub", "systems.rewrite.rewriter"))
    loaded = part("keysync.systems.table").SYSTEMS["rewrite"].load({}, device=torch.device("cpu"), dtype=None)
    settings = dub.Settings(sampling=rewriter.Rewriting(CHOICES["strength"]))
    sound = part("keysync.demo").SPEECH
    expected = job.dub_file(clip, sound, tmp_path / "expected.mp4", loaded, settings, job.FaceSource()).to_dict()
    pictures, theirs = torch.stack(drawn.pictures), np.stack(drawn.frames)

    drawn.frames = []
    video, report = lip_sync(node, clip, speech)
    assert np.array_equal(np.stack(drawn.frames), theirs)
    for name in ("ranges", "frames", "notes", "system", "curves"):
        assert report[name] == json.loads(json.dumps(expected[name])), name
    assert report["system"] == "rewrite"
    assert video.get_components().images.shape == images.shape

    lips, mouths = part("nodes.lips"), part("nodes.mouths")
    fitted, audio, fps = part("nodes.audio").FitAudio.execute(images, speech, 25.0, "cut_off").args[:3]
    assert len(fitted) == FRAMES
    (curve,) = lips.LipsCurveFromSpeech.execute(audio, fps).args
    assert curve.values.shape == (FRAMES, 5)
    crops, track, mask = cropped
    (chosen,) = mouths.ChooseMouths.execute(crops, track, mask, curve, CHOICES["strength"]).args
    made, shown, text = mouths.WarpMouths.execute(crops, chosen).args
    assert text == f"{FRAMES} of {FRAMES} frames have a new mouth"
    share = pictures[..., 3:]
    torch.testing.assert_close(made, crops + share * (pictures[..., :3] - crops), atol=1e-6, rtol=0)
    assert torch.equal(shown > 0, (mask > 0.5) & (share[..., 0] > 0))
    pasted = part("nodes.paste").PasteFace.execute(images, made, track, shown, 0.04).args[0].numpy()
    # The feather is another one; where both are whole, mouths are the same.
    before = images.numpy()
    moved = np.abs(theirs / 255 - before).mean()
    assert np.abs(pasted - theirs / 255).mean() < 0.25 * moved


def test_auto_takes_what_suits_the_face(node: Any, clip: Path, speech: dict[str, Any]) -> None:
    short = speech | {"waveform": speech["waveform"][..., :3200]}
    _, report = lip_sync(node, clip, short, system="auto")
    assert report["system"] == "keysync"
    assert report["notes"][-1] == "the strength 1.2 has no effect: keysync has no such setting"
    assert any("the face looks rendered" in note for note in report["notes"])


def test_a_curve_is_followed_instead_of_the_audio(
    node: Any, clip: Path, speech: dict[str, Any], error: type[Exception]
) -> None:
    values = np.zeros((FRAMES, 5), np.float32)
    values[10:20, 0] = 1
    curve = part("keysync.speech.lips_curve").LipsCurve(values, 25.0)
    _, report = lip_sync(node, clip, speech, system="auto", lips=curve)
    opening = np.array(report["curves"]["opening"])
    assert report["system"] == "rewrite"
    assert not any("lips curve" in note for note in report["notes"])
    assert np.flatnonzero(opening > opening.min() + 1e-3).tolist() == list(range(10, 20))
    longer = part("keysync.speech.lips_curve").LipsCurve(np.repeat(values, 2, 0), 25.0)
    _, report = lip_sync(node, clip, speech, lips=longer)
    assert report["notes"][-1] == "the lips curve lasts 2.56 s, the result 1.28 s: its end is left out"
    with pytest.raises(error, match="keysync cannot follow a lips curve: choose rewrite in system, or disconnect lips"):
        lip_sync(node, clip, speech, system="keysync", lips=curve)
    with pytest.raises(error, match=r"lasts 0\.40 s but the result 1\.28 s.*\(put Fit Audio before Lips Curve"):
        lip_sync(node, clip, speech, lips=part("keysync.speech.lips_curve").LipsCurve(values[:10], 25.0))
    with pytest.raises(error, match=r"the strength is nan: .* \(set strength\)"):
        lip_sync(node, clip, speech, strength=float("nan"))


def test_it_runs_on_comfyuis_device_with_room_made(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    device = torch.device("meta")
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: device)
    monkeypatch.setattr(comfy.model_management, "free_memory", lambda room, at: made.append((room, at)))

    @dataclass
    class Row:
        files: tuple[Any, ...] = ()

        def load(self, files: Any, **how: Any) -> str:
            made.append((files, how))
            return "loaded"

    monkeypatch.setitem(node.SYSTEMS, "rewrite", Row())
    assert node.load("rewrite", None) == "loaded"
    assert made == [(node.ROOM, device), ({}, {"device": device, "dtype": None})]


def test_progress_and_cancelling(
    node: Any, clip: Path, speech: dict[str, Any], cropped: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(part("keysync.job"), "make_detector", None)
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: told.append((value, total))
    )
    track = part("nodes.host.sockets").Faces(cropped[1].track)
    video, _ = lip_sync(node, clip, speech, track=track)
    values = [value for value, _ in told]
    assert told[-1] == (1000, 1000)
    assert values == sorted(values)
    assert [str(path) for path in temporary.glob("*.*")] == [video.get_stream_source()]  # beside the cache

    def stop(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        if value > 500:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        lip_sync(node, clip, speech, track=track)
    assert [str(path) for path in temporary.glob("*.*")] == [video.get_stream_source()]  # beside the cache


def test_a_hidden_mouth_stays_as_it_is(cropped: Any, images: Tensor) -> None:
    crops, track, mask = cropped
    crops = crops.clone()
    crops[20:23, crops.shape[1] // 2 :] = 0
    curve = part("keysync.speech.lips_curve").LipsCurve(np.ones((FRAMES, 5), np.float32), 25.0)
    mouths = part("nodes.mouths")
    (chosen,) = mouths.ChooseMouths.execute(crops, track, mask, curve, 1.0).args
    made, shown, report = mouths.WarpMouths.execute(crops, chosen).args
    assert torch.equal(made[20:23], crops[20:23])
    assert not shown[20:23].any()
    assert report.splitlines()[1] == "unchanged, something hides the mouth: frames 20-22"
    pasted = part("nodes.paste").PasteFace.execute(images, made, track, shown, 0.04).args[0]
    assert torch.equal(pasted[20:23], images[20:23])
    assert not torch.equal(pasted[25], images[25])


def test_crops_are_as_close_in_each_shot_and_of_one_size(images: Tensor, cropped: Any) -> None:
    track = cropped[1].track
    landmarks, shot = track.landmarks.copy(), track.shot.copy()
    landmarks[20:] = 160 + 0.6 * (landmarks[20:] - 160)
    shot[20:] = 1
    faces = part("nodes.host.sockets").Faces(replace(track, landmarks=landmarks, shot=shot))
    crops, made = part("nodes.face").CropFace.execute(images, faces).args
    sides = made.boxes[:, 2]
    assert len(set(sides[:20])) == len(set(sides[20:])) == 1
    assert abs(sides[20] / sides[0] - 0.6) < 0.03
    assert made.crop_size == crops.shape[1:3] == (sides[0], sides[0])


def test_what_the_steps_refuse(cropped: Any, images: Tensor, error: type[Exception]) -> None:
    crops, track, mask = cropped
    mouths, curves = part("nodes.mouths"), part("keysync.speech.lips_curve")
    curve = curves.LipsCurve(np.ones((FRAMES, 5), np.float32), 25.0)
    choose = mouths.ChooseMouths.execute
    side = crops.shape[1]
    assert side == track.boxes[:, 2].max()  # the frame's own pixels
    small = torch.nn.functional.interpolate(crops.permute(0, 3, 1, 2), (128, 128)).permute(0, 2, 3, 1)
    with pytest.raises(error, match=rf"are 128x128 but .* {side}x{side} .* Crop Face with no model connected"):
        choose(small, track, mask[:, :128, :128], curve, 1.0)
    with pytest.raises(error, match=r"square crops of up to 512x512 \(use crops from Crop Face with no model"):
        choose(crops.repeat(1, 3, 3, 1), track, mask.repeat(1, 3, 3), curve, 1.0)
    with pytest.raises(error, match="the track is from Track Face and has no crops: connect the track of Crop Face"):
        choose(crops, part("nodes.host.sockets").Faces(track.track), mask, curve, 1.0)
    with pytest.raises(error, match="there are 5 crops but the track covers 32 frames"):
        choose(crops[:5], track, mask, curve, 1.0)
    with pytest.raises(error, match=r"there are 32 masks of 99x99 but 32 crops of .*: connect Mouth Mask"):
        choose(crops, track, mask[:, :99, :99], curve, 1.0)
    with pytest.raises(error, match=r"covers 3 frames but there are 32: .* before Lips Curve from Speech"):
        choose(crops, track, mask, curves.LipsCurve(np.ones((3, 5), np.float32), 25.0), 1.0)
    longer = curves.LipsCurve(np.ones((FRAMES + 4, 5), np.float32), 25.0)
    (chosen,) = choose(crops, track, mask[:1], longer, 1.0).args  # one mask for all
    assert len(chosen.masks) == FRAMES
    report = mouths.WarpMouths.execute(crops, chosen).args[2]
    assert "the lips curve has 36 frames, 4 more than the crops: they are left out" in report.splitlines()[-1]
    with pytest.raises(error, match="there are 9 crops but mouths were chosen for 32"):
        mouths.WarpMouths.execute(crops[:9], chosen)
