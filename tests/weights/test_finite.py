"""Weights that are not numbers are refused at load, with the tensor's name, whatever the model and the format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.sam2_weights import load_sam2
from keysync.speech.encoders import load_encoder
from keysync.vae.vae import load_vae, read_vae
from keysync.weights.checkpoint import convert, load_stage, open_stage
from keysync.weights.describe import describe
from keysync.weights.finite import CHUNK, check_weights, is_finite

from ..tiny_sam2 import write_tiny_sam2

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_number_among_many(dtype: torch.dtype) -> None:
    numbers = torch.randn(CHUNK + 100, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert is_finite(numbers)
    assert is_finite(numbers.reshape(-1, 4).T)
    for bad in (float("nan"), float("inf"), float("-inf")):
        stored = torch.tensor(bad).to(dtype)
        if not stored.float().isfinite():  # some types of a byte store infinity as their largest number
            for place in (0, CHUNK - 1, CHUNK, CHUNK + 99):
                changed = numbers.clone()
                changed[place] = stored
                assert not is_finite(changed), (bad, place)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_finite_number(dtype: torch.dtype) -> None:
    """Sums that overflow are no reason: the largest number of a type, many times."""
    largest = torch.tensor(torch.finfo(dtype).max, dtype=torch.float64).to(dtype)
    assert is_finite(largest.expand(1000))
    assert is_finite((-largest.double()).to(dtype).expand(1000))
    assert is_finite(torch.zeros(0).to(dtype))
    assert is_finite(torch.tensor(1.0).to(dtype))


def test_all_bytes_of_small_types() -> None:
    for dtype in DTYPES[4:]:
        values = torch.arange(256).to(torch.uint8).view(dtype)
        assert [is_finite(values[n : n + 1]) for n in range(256)] == values.float().isfinite().tolist()


def test_types() -> None:
    check_weights("file", {"counter": torch.tensor(3), "flag": torch.tensor(True)})
    with pytest.raises(KeySyncError, match=r"^file: wave has dtype torch\.complex64: expected floating-point weights"):
        check_weights("file", {"wave": torch.zeros(1, dtype=torch.complex64)})


def spoilt(tensors: dict[str, Tensor], name: str, bad: float) -> dict[str, Tensor]:
    """The tensors with one number changed, the last of its tensor."""
    tensor = tensors[name].clone()
    tensor.view(-1)[-1] = bad
    return {**tensors, name: tensor}


def refused(load: Callable[..., Any], *arguments: Any, name: str, **options: Any) -> None:
    with pytest.raises(KeySyncError) as caught:
        load(*arguments, **options)
    assert f": {name} contains numbers that are not finite: the file is damaged" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_stage(tiny_files: dict[str, Path], tmp_path: Path, suffix: str, bad: float) -> None:
    file = tmp_path / f"stage{suffix}"
    name = "model.diffusion_model.out.2.bias"
    with safe_open(tiny_files["keyframe"], "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(tiny_files["keyframe"])
    for used in (name, "conditioner.embedders.2.linear.weight"):
        held = spoilt(tensors, used, bad)
        if suffix == ".pt":
            torch.save({"module": held}, file)
        else:
            save_file(held, file, metadata)
        options = {"head_dim": 32, "latent_size": (8, 8)}
        refused(load_stage, file, name=used, **options)
        refused(open_stage, file, name=used, **options)
        refused(convert, file, tmp_path / "converted.safetensors", name=used, **options)
    if suffix == ".safetensors":
        assert "contains numbers that are not finite" in str(describe(file).problem)
    assert not (tmp_path / "converted.safetensors").exists()


def test_what_a_stage_does_not_use_may_be_anything(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    """CLIP's causal mask, which lies in published files, is made of minus infinity."""
    file = tmp_path / "stage.safetensors"
    with safe_open(tiny_files["keyframe"], "pt") as opened:
        metadata = opened.metadata()
    mask = torch.full((4, 4), float("-inf")).triu(1)
    save_file({**load_file(tiny_files["keyframe"]), "conditioner.embedders.0.attn_mask": mask}, file, metadata)
    load_stage(file)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["decoder.conv_in.bias", "encoder.mid_block.resnets.0.conv1.weight", "quant_conv.bias"]
)
def test_a_vae(tiny_files: dict[str, Path], tmp_path: Path, name: str, bad: float) -> None:
    folder = shutil.copytree(tiny_files["vae"], tmp_path / "vae")
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file(spoilt(load_file(file), name, bad), file)
    refused(load_vae, folder, name=name)
    refused(read_vae, folder, name=name)
    if name.startswith("decoder"):
        refused(load_vae, tiny_files["vae"], name=name, decoder_from=folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["hubert", "wavlm"])
@pytest.mark.parametrize(
    "name", ["encoder.layers.1.feed_forward.output_dense.bias", "feature_projection.layer_norm.bias"]
)
def test_a_speech_encoder(tiny_files: dict[str, Path], tmp_path: Path, kind: str, name: str, bad: float) -> None:
    folder = shutil.copytree(tiny_files[kind], tmp_path / kind)
    file = folder / "model.safetensors"
    save_file(spoilt(load_file(file), name, bad), file)
    refused(load_encoder, kind, folder, name=name)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_sam2(tmp_path: Path, bad: float) -> None:
    file = write_tiny_sam2(tmp_path / "sam2.safetensors")
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    name = "memory_attention.layer_norm.bias"
    save_file(spoilt(load_file(file), name, bad), file, metadata)
    refused(load_sam2, file, name=name)
