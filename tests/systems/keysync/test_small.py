"""KeySync small: files like any others that say what they are and fit together, few enough to travel with the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from keysync.network.stage import STAGES
from keysync.speech.ears import Ears
from keysync.speech.encoders import load_encoder
from keysync.systems.keysync.small import CROP_SCALE, FOLDER, RESOLUTION, SMALL
from keysync.vae.vae import load_vae, read_vae, weight_file
from keysync.weights.checkpoint import load_stage
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors


def test_all_of_it_is_there_and_nothing_else() -> None:
    files = {path.relative_to(FOLDER).as_posix(): path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()}
    shared = files.pop("flashlips-small.safetensors")  # of FlashLips, which draws with this VAE
    assert set(files) == {
        "keysync-small-keyframe.safetensors",
        "keysync-small-interpolation.safetensors",
        "keysync-small-vae/config.json",
        "keysync-small-vae/diffusion_pytorch_model.safetensors",
        "keysync-small-hubert/model.safetensors",
    }
    assert sum(files.values()) < 30e6
    assert shared < 30e6
    assert all(path.parent == FOLDER for path in SMALL.values())


@pytest.mark.parametrize("name", list(STAGES))
def test_a_stage(name: str) -> None:
    spec = load_stage(SMALL[name], expect=name).spec
    assert (spec.image_size, spec.crop_scale) == ((RESOLUTION, RESOLUTION), CROP_SCALE)
    assert (spec.window, spec.speech_encoder, spec.mask) == (14, "hubert", "box")
    found = describe(SMALL[name])
    assert (found.problem, found.unexpected, found.untrained) == (None, (), False)
    assert set(found.dtypes) == {"float16"}


def test_the_vae() -> None:
    path = weight_file(SMALL["vae"])
    tensors, _ = read_tensors(path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    config = json.loads((path.parent / "config.json").read_text())
    widths = read_vae(path).widths
    assert (tuple(config["block_out_channels"]), config["layers_per_block"]) == (widths.channels, widths.blocks)
    vae = load_vae(SMALL["vae"])
    assert (vae.downscale, vae.encoder is None) == (8, False)


def test_the_speech_encoder_is_the_one_that_both_stages_hear() -> None:
    encoder = load_encoder("hubert", SMALL["hubert"])
    assert isinstance(encoder, Ears)
    assert {load_stage(SMALL[name]).spec.audio_channels for name in STAGES} == {encoder.channels}
    assert encoder.encode(torch.randn(16_000)).rows.isfinite().all()


@pytest.mark.parametrize("name", list(SMALL))
def test_every_weight_is_a_number(name: str) -> None:
    path: Path = SMALL[name]
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    tensors = {key: tensor for file in files for key, tensor in read_tensors(file)[0].items()}
    assert tensors
    assert all(tensor.isfinite().all() for tensor in tensors.values())
