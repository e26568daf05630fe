"""Not a number is never a picture, nothing is held after /free, a seed gives one picture, and results are marked."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from portrait import portrait_frames

ROOT = Path(__file__).resolve().parents[3]
FRAMES, SIZE = 8, 192
SETTINGS = {
    "sync_mode": "cut_off",
    "mask": "box",
    "seed": 7,
    "steps": 10,
    "audio_guidance": 4.0,
    "identity_guidance": 1.5,
    "detector": "mediapipe",
    "face_index": 0,
}


pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def clip(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "portrait.mp4"
    like = part("keysync.media.info").PictureFormat(SIZE, SIZE, Fraction(1, 25), Fraction(25))
    with part("keysync.media.writer").VideoWriter(path, like) as writer:
        for pts, frame in enumerate(portrait_frames(FRAMES, SIZE)):
            writer.write(frame, pts)
    return path


@pytest.fixture(scope="module")
def speech() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"waveform": 0.1 * torch.randn(1, 1, 16_000 * FRAMES // 25, generator=generator), "sample_rate": 16_000}


def load(tiny: Path) -> dict[str, Any]:
    model, speech = part("nodes.host.model"), part("nodes.host.encoder")
    return {
        "keyframe_model": model.load_model(tiny / "keyframe.safetensors"),
        "interpolation_model": model.load_model(tiny / "interpolation.safetensors"),
        "vae": part("nodes.host.vae").core_vae(part("keysync.vae.vae").read_vae(tiny / "vae")),
        "keyframe_encoder": speech.load(tiny / "hubert"),
        "interpolation_encoder": speech.load(tiny / "wavlm"),
    }


@pytest.fixture(scope="module")
def loaded(extension: ModuleType, tiny: Path) -> dict[str, Any]:
    return load(tiny)


class Recorded:
    """The frames that dubs gave to their writer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[Any] = []
        record, writer = self.frames, part("keysync.job").VideoWriter

        class Recorder(writer):  # type: ignore[misc, valid-type]
            def write(self, frame: Any, pts: int) -> None:
                record.append(frame.copy())
                super().write(frame, pts)

        monkeypatch.setattr(part("keysync.job"), "VideoWriter", Recorder)


def dub(models: dict[str, Any], clip: Path, speech: dict[str, Any], **more: Any) -> tuple[Any, dict[str, Any]]:
    video, text, _ = (
        part("nodes.dub")
        .DubVideo.execute(InputImpl.VideoFromFile(str(clip)), speech, **models, **(SETTINGS | more))
        .args
    )
    return video, json.loads(text)


def test_nothing_of_ours_lives_after_free(extension: ModuleType, tiny: Path, tmp_path: Path) -> None:
    """In a process of its own, in which transformers is first imported by the dub's loaders."""
    program = Path(__file__).with_name("held.py")
    done = subprocess.run(
        [sys.executable, str(program), str(ROOT), str(tiny), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("kept") > 10  # or the test shows nothing
    assert told == dict.fromkeys(("keyframe", "interpolation", "vae", "hubert", "wavlm"), False)


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_weights_that_are_no_numbers(
    extension: ModuleType, tiny: Path, clip: Path, speech: Any, temporary: Path, error: type[Exception], stage: str
) -> None:
    models = load(tiny)
    with torch.inference_mode(False), torch.no_grad():
        models[f"{stage}_model"].model.diffusion_model.out[2].bias[0] = math.nan
    with pytest.raises(error, match=f"the {stage} model gives numbers that are not finite for frames 0-7: expected a"):
        dub(models, clip, speech)
    assert list(temporary.glob("*.*")) == []  # beside the cache


def test_a_vae_that_gives_no_numbers(
    extension: ModuleType, tiny: Path, clip: Path, speech: Any, temporary: Path, error: type[Exception]
) -> None:
    models = load(tiny)
    network = models["vae"].first_stage_model
    # An infinity that the core's clamp makes white.
    with torch.inference_mode(False), torch.no_grad():
        next(reversed(list(network.decoder.parameters()))).fill_(math.inf)
    with pytest.raises(error, match="the VAE's decoder gives numbers that are not finite for frames 0-7"):
        dub(models, clip, speech)
    with pytest.raises(error, match="the VAE's decoder gives numbers that are not finite for frame 0: check the lat"):
        part("nodes.vae").DecodeFrames.execute({"samples": torch.zeros(2, 4, 8, 8)}, models["vae"])
    assert list(temporary.glob("*.*")) == []  # beside the cache


def overflowing(models: dict[str, Any]) -> dict[str, Any]:
    """The keyframe model in float16, such that a layer's output is beyond it: the next one takes it back."""
    model = models["keyframe_model"].model
    block = model.diffusion_model.input_blocks[0][0]
    with torch.inference_mode(False), torch.no_grad():
        block.weight.mul_(3e4)
    # What the file holds is no longer what computes: nothing that was kept of it may be taken.
    models["keyframe_model"].model.file = None
    return models


def test_half_precision_that_overflows_is_computed_again(
    extension: ModuleType, tiny: Path, clip: Path, speech: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    _, plain = dub(overflowing(load(tiny)), clip, speech)
    expected, recorded.frames[:] = np.stack(recorded.frames), []
    models = overflowing(load(tiny))
    model = models["keyframe_model"].model
    with torch.inference_mode(False):
        model.diffusion_model.half()
    model.diffusion_model.dtype, model.manual_cast_dtype = torch.float16, None
    _, report = dub(models, clip, speech)
    assert plain["notes"] == []
    assert report["notes"] == [
        "half precision overflowed in the keyframe model: frames 0-7 were computed again in float32"
    ]
    assert np.abs(np.stack(recorded.frames).astype(int) - expected).max() <= 2
    assert model.manual_cast_dtype is None
    assert not any(getattr(layer, "comfy_cast_weights", False) for layer in model.diffusion_model.modules())


def test_the_same_seed_is_the_same_picture_whatever_memory_is_free(
    loaded: dict[str, Any], clip: Path, speech: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    drawn: list[torch.Tensor] = []
    paste = part("keysync.dub").paste

    def pasted(frame: Any, picture: torch.Tensor, place: Any, scaling: str) -> Any:
        drawn.append(picture)
        return paste(frame, picture, place, scaling)

    monkeypatch.setattr(part("keysync.dub"), "paste", pasted)
    results, pictures = [], []
    for free in (2**12, 2**20, 2**24, 2**40):
        monkeypatch.setattr(
            comfy.model_management,
            "get_free_memory",
            lambda dev=None, torch_free_too=False, free=free: (free, free) if torch_free_too else free,
        )
        recorded.frames.clear()
        drawn.clear()
        dub(loaded, clip, speech)
        results.append(np.stack(recorded.frames))
        pictures.append(torch.stack(drawn))
    assert all(torch.equal(pictures[0], other) for other in pictures[1:])
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_numbers_that_are_none_are_refused(
    loaded: dict[str, Any], clip: Path, speech: Any, error: type[Exception]
) -> None:
    for name in ("audio_guidance", "identity_guidance"):
        for value in (math.nan, math.inf):
            with pytest.raises(error, match=f"the {name.replace('_', ' ')} is {value}: expected a finite number"):
                dub(loaded, clip, speech, **{name: value})
            with pytest.raises(error, match=f"{name} is {value}: expected a finite number"):
                part("nodes.host.guider").WindowGuider(loaded["keyframe_model"], **{name: value})
    images = torch.zeros(4, 64, 64, 3)
    for fps in (math.nan, math.inf, 0.0, -25.0):
        with pytest.raises(error, match=r"the frame rate is .* fps: expected a positive number, such as 25"):
            part("nodes.audio").FitAudio.execute(images, speech, fps, "cut_off")
    with pytest.raises(error, match="the frame rate is nan fps"):
        part("nodes.speech").EncodeSpeech.execute(loaded["keyframe_encoder"], speech, math.nan)
    broken = images.clone()
    broken[2, 5, 5, 0] = math.nan
    with pytest.raises(error, match="a picture holds numbers that are not finite"):
        part("nodes.face").TrackFace.execute(broken, "mediapipe", "largest", 0, 0, 0)
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=broken, audio=None, frame_rate=Fraction(25)))
    with pytest.raises(error, match="a picture holds numbers that are not finite"):
        part("nodes.dub").DubVideo.execute(video, speech, **loaded, **SETTINGS)


def test_paste_face_refuses_what_is_no_picture(extension: ModuleType, error: type[Exception]) -> None:
    tracker = part("keysync.face.track").Tracker(exact=True)
    points = np.zeros((68, 2), np.float32) + np.arange(68)[:, None] / 4 + 8
    for _ in range(3):
        tracker.add(np.zeros((64, 64, 3), np.uint8), [part("keysync.face.face").Face.of(points, 1.0)])
    track = tracker.finish(part("keysync.face.track").FaceChoice())
    boxes = np.tile(np.array([[8, 8, 32]]), (3, 1))
    faces = part("nodes.host.sockets").Faces(track, boxes, (32, 32))
    images, crops, mask = torch.zeros(3, 64, 64, 3), torch.zeros(3, 32, 32, 3), torch.ones(3, 32, 32)
    paste = part("nodes.paste").PasteFace.execute
    assert paste(images, crops, faces, mask, 0.04).args
    with pytest.raises(error, match="feather is nan: expected a finite number"):
        paste(images, crops, faces, mask, math.nan)
    crops[1, 3, 3] = math.nan
    with pytest.raises(error, match="crops holds numbers that are not finite in 1 of 3 frames, first in frame 1"):
        paste(images, crops, faces, mask, 0.04)


def test_a_temporary_folder_that_cannot_be_written(
    loaded: dict[str, Any], clip: Path, speech: Any, tmp_path: Path, error: type[Exception], monkeypatch: Any
) -> None:
    monkeypatch.setattr(part("keysync.job"), "survey", None)  # the face is never followed
    (tmp_path / "file").write_text("")
    folder_paths.set_temp_directory(str(tmp_path / "file" / "temp"))
    with pytest.raises(error, match=r"ComfyUI's temporary folder .* cannot be made \(Not a directory\)"):
        dub(loaded, clip, speech)
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    whole = part("keysync.whole")

    def read_only(*_: Any) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(whole.os, "open", read_only)
    with pytest.raises(error, match=r"cannot be written: .*temp is read-only; choose another folder \(ComfyUI's temp"):
        dub(loaded, clip, speech)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_mark_survives_save_video(
    loaded: dict[str, Any], clip: Path, speech: Any, tmp_path: Path, suffix: str
) -> None:
    video, report = dub(loaded, clip, speech)
    mark = {"keysync": report["provenance"]}
    assert mark["keysync"]["models"] == {
        "keyframe": "keyframe.safetensors", "interpolation": "interpolation.safetensors"
    }  # fmt: skip
    result = Path(video.get_stream_source())
    assert b"compositeWithTrainedAlgorithmicMedia" in result.read_bytes()
    saved = tmp_path / f"saved.{suffix}"
    video.save_to(str(saved), metadata={"prompt": {"1": {}}})
    for path in (result, saved):
        with av.open(str(path)) as container:
            tags = {name.lower(): value for name, value in container.metadata.items()}
            assert json.loads(tags["comment"]) == mark
