"""Not a number is never a picture: what a dub does where networks overflow or give NaN, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import keysync.job
from keysync.dub import Settings, merge
from keysync.errors import KeySyncError
from keysync.face.face import Face
from keysync.job import FaceSource, dub_file
from keysync.media.source import FramesInMemory, as_bytes
from keysync.network.precision import in_float32, is_finite, is_half
from keysync.systems.keysync.models import Models, load_models
from keysync.systems.keysync.sampling import Sampling

from .clips import CheapStages, Quiet, picture, read_frames, write_speech, write_video
from .synthetic_face import face

SETTINGS = Settings(sampling=Sampling(evaluations=10))
FRAMES = 20


class OneFace:
    def detect(self, *_: object) -> list[Face]:
        return [face((46, 36), 30)]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: OneFace())


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    video = write_video(tmp_path / "in.mp4", [picture(n) for n in range(FRAMES)])
    return {"video": video, "audio": write_speech(tmp_path / "speech.wav", 0.8), "output": tmp_path / "out.mkv"}


def fresh(tiny_files: dict[str, Path], **how: Any) -> Models:
    """The tiny models, of one's own: to be broken."""
    return load_models(**{**tiny_files, **how})


def dub(files: dict[str, Path], models: Models, settings: Settings = SETTINGS) -> Any:
    return dub_file(files["video"], files["audio"], files["output"], models, settings, FaceSource(), lossless=True)


def refusal(files: dict[str, Path], models: Models) -> str:
    """The message of a dub that must fail and leave nothing."""
    before = sorted(files["video"].parent.iterdir())
    with pytest.raises(KeySyncError) as caught:
        dub(files, models)
    assert sorted(files["video"].parent.iterdir()) == before
    message = str(caught.value)
    assert "\n" not in message
    return message


def spoil(module: nn.Module, value: float = math.nan) -> None:
    with torch.no_grad():
        list(module.parameters())[-1].fill_(value)


# Even in float32 no number


def test_the_stage_and_the_frames_are_named(files: dict[str, Path], tiny_files: dict[str, Path]) -> None:
    for stage, frames in (("keyframe", "0-19"), ("interpolation", "0-13")):
        models = fresh(tiny_files)
        spoil(getattr(models, stage).unet.out)
        assert refusal(files, models) == (
            f"the {stage} model gives numbers that are not finite for frames {frames}: expected a picture; use other "
            "weights or a lower guidance"
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_vae(
    value: float, files: dict[str, Path], tiny_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinity is no white: the clamp at the end would make one of it."""
    CheapStages().install(monkeypatch)
    models = fresh(tiny_files)
    spoil(models.vae.decoder, value)  # type: ignore[union-attr]
    assert refusal(files, models).startswith("the VAE's decoder gives numbers that are not finite for frames 0-1")
    models = fresh(tiny_files)
    spoil(models.vae.encoder, value)  # type: ignore[arg-type]
    assert refusal(files, models).startswith("the VAE's encoder gives numbers that are not finite for frames 0-0: ")


def test_the_speech_encoder(files: dict[str, Path], tiny_files: dict[str, Path]) -> None:
    models = fresh(tiny_files)
    spoil(models.encoders["wavlm"].model)  # type: ignore[union-attr]
    assert refusal(files, models) == (
        "the speech encoder wavlm gives numbers that are not finite for frames 0-19: use other weights"
    )


def test_any_system(files: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a renderer says nothing of is still seen where its pictures arrive."""

    def draw(run: Any, span: Any) -> Any:
        for number, (crop, _) in enumerate(span.crops):
            yield crop * (math.nan if number == 3 else 1)

    monkeypatch.setattr("keysync.systems.keysync.models.render", draw)
    assert refusal(files, models).startswith("the picture for frame 3 holds numbers that are not finite")


# Halves that overflow


def overflow(layer: nn.Module) -> None:
    """Makes the output of a layer before a norm larger than float16 holds; the norm takes it back."""
    with torch.no_grad():
        layer.weight.mul_(3e4)  # type: ignore[operator]


def widest(models: Models) -> None:
    overflow(models.keyframe.unet.input_blocks[0][0])  # type: ignore[index, union-attr]


def test_half_precision_that_overflows_is_computed_again(files: dict[str, Path], tiny_files: dict[str, Path]) -> None:
    plain = fresh(tiny_files)
    widest(plain)
    assert dub(files, plain).notes == [MATROSKA]
    expected = np.stack(read_frames(files["output"])).astype(int)
    halves = fresh(tiny_files, dtype=torch.float16)
    widest(halves)
    before = {name: tensor.clone() for name, tensor in halves.keyframe.state_dict().items()}  # type: ignore[union-attr]
    counted = Quiet()
    report = dub_file(
        files["video"], files["audio"], files["output"], halves, SETTINGS, FaceSource(), counted, lossless=True
    )
    assert report.notes == [
        MATROSKA, "half precision overflowed in the keyframe model: frames 0-19 were computed again in float32"
    ]  # fmt: skip
    assert counted.parts["network evaluations"] == [report.network_evaluations, report.network_evaluations]
    assert np.abs(np.stack(read_frames(files["output"])) - expected).max() <= 3
    after = halves.keyframe.state_dict()  # type: ignore[union-attr]
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == tensor.dtype for name, tensor in before.items()
    )


MATROSKA = "the lossless result is Matroska, which keeps timestamps to the millisecond"


def test_a_vae_in_half_precision(
    files: dict[str, Path], tiny_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    CheapStages().install(monkeypatch)
    models = fresh(tiny_files)
    overflow(models.vae.decoder.conv_in)  # type: ignore[union-attr, arg-type]
    dub(files, models)
    expected = np.stack(read_frames(files["output"])).astype(int)
    models.vae.half()  # type: ignore[union-attr]
    report = dub(files, models)
    assert report.notes[1:] == [
        "half precision overflowed in the VAE's decoder: frames 0-19 were computed again in float32"
    ]
    assert np.abs(np.stack(read_frames(files["output"])) - expected).max() <= 3
    assert is_half(models.vae)  # type: ignore[arg-type]


def test_halves_that_float32_does_not_help(files: dict[str, Path], tiny_files: dict[str, Path]) -> None:
    models = fresh(tiny_files, dtype=torch.float16)
    spoil(models.interpolation.unet.out)  # type: ignore[union-attr]
    assert "the interpolation model gives numbers that are not finite for frames 0-13, in float32 too: exp" in refusal(
        files, models
    )
    assert {parameter.dtype for parameter in models.interpolation.parameters()} == {torch.float16}  # type: ignore[union-attr]


def test_float32_for_a_while_is_undone_by_an_exception() -> None:
    layer = nn.Linear(3, 3, dtype=torch.bfloat16)
    before = layer.weight.detach().clone()

    def interrupted() -> None:
        with in_float32(layer):
            assert layer.weight.dtype == layer.bias.dtype == torch.float32
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.equal(layer.weight, before)
    assert is_half(layer)


# Numbers that a person types


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_guidance_must_be_finite(value: float) -> None:
    for name in ("audio_guidance", "identity_guidance"):
        message = f"the {name.replace('_', ' ')} is {value}: expected a finite number, such as 5"
        with pytest.raises(KeySyncError, match=message) as caught:
            Sampling(**{name: value})  # type: ignore[arg-type]
        assert caught.value.about == name
    with pytest.raises(KeySyncError, match="the guidance interval is"):
        Sampling(guidance_interval=(0.0, math.nan))
    assert Sampling(guidance_interval=(0.0, math.inf))


def curve(value: float) -> Callable[[Any], Any]:
    return lambda times: np.full(len(times), value)


def test_pictures_in_memory_must_be_finite() -> None:
    frames = torch.zeros(3, 8, 8, 3)
    frames[1, 0, 0, 0] = math.inf
    with pytest.raises(KeySyncError, match="a picture holds numbers that are not finite"):
        list(FramesInMemory("the images", frames, Fraction(25)).frames())
    with pytest.raises(KeySyncError, match="not finite"):
        as_bytes(np.full((2, 2, 3), np.nan, np.float32))
    assert is_finite(Tensor([1.0, 2.0]))


def test_ranges_that_touch_are_one() -> None:
    assert merge([(5, 9), (0, 2), (3, 4), (20, 22), (21, 30)]) == [(0, 9), (20, 30)]
