"""Encoding and single-frame decoding equal the reference's, in every layout that weights come in."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from keysync.vae.vae import VAE, load_vae
from keysync.weights.files import read_tensors

from .conftest import Golden, relative_error

TOLERANCE = 1e-4


def pictures(tensor: Tensor) -> Tensor:
    """(n, 3, h, w) in -1..1 as the reference speaks, to (n, h, w, 3) in 0..1."""
    return (tensor.movedim(1, -1) + 1) / 2


def decoded_alone(vae: VAE, latents: Tensor) -> Tensor:
    """What the network gives before clamping, as the reference keeps it: (n, 3, h, w)."""
    with torch.no_grad():
        indicator = torch.zeros(len(latents), 1)
        result: Tensor = vae.decoder(latents, image_only_indicator=indicator, num_frames=1)
    return result


def test_diffusers_encode(golden: Golden) -> None:
    vectors = golden.tensors("vae")
    vae = load_vae(golden.path("vae_diffusers_tiny.safetensors"))
    mean, std = vae.posterior(pictures(vectors["diffusers.x"]))
    assert relative_error(mean, vectors["diffusers.mean"]) < TOLERANCE
    assert relative_error(std, vectors["diffusers.std"]) < TOLERANCE
    assert relative_error(vae.encode(pictures(vectors["diffusers.x"])), vectors["diffusers.mean"] * 0.18215) < TOLERANCE
    sampled = (mean + std * vectors["diffusers.eps"]) * 0.18215
    assert relative_error(sampled, vectors["diffusers.latent_scaled"]) < TOLERANCE


def test_diffusers_decode(golden: Golden) -> None:
    vectors = golden.tensors("vae")
    vae = load_vae(golden.path("vae_diffusers_tiny.safetensors"))
    expected = vectors["diffusers.decode_nf1"]
    # The reference divides these by the scale factor before its network sees them.
    frames = vectors["diffusers.z"][: len(expected)]
    assert relative_error(decoded_alone(vae, frames / 0.18215), expected) < TOLERANCE
    assert relative_error(vae.decode(frames), pictures(expected).clamp(0, 1)) < TOLERANCE


def test_decoder_inside_the_checkpoints(golden: Golden) -> None:
    vectors = golden.tensors("vae")
    expected = vectors["sgm.decode_t1"]
    frames = vectors["sgm.z"][: len(expected)]
    paths = [golden.path(f"{stage}_checkpoint.safetensors") for stage in ("keyframe", "interpolation")]
    holding = [path for path in paths if any(name.startswith("first_stage_model.") for name in read_tensors(path)[0])]
    assert holding
    for path in holding:
        vae = load_vae(path)
        assert relative_error(decoded_alone(vae, frames), expected) < TOLERANCE
        assert relative_error(vae.decode(frames * 0.18215), pictures(expected).clamp(0, 1)) < TOLERANCE


def test_sgm_encoder(golden: Golden, tmp_path: Path) -> None:
    vectors = golden.tensors("vae")
    weights = golden.tensors("vae_sgm_encoder")
    checkpoint = golden.path("keyframe_checkpoint.safetensors")
    prefixed = tmp_path / "svd.safetensors"
    save_file({f"first_stage_model.{name}": tensor for name, tensor in weights.items()}, prefixed)
    for path in (golden.path("vae_sgm_encoder.safetensors"), prefixed):
        mean, std = load_vae(path, decoder_from=checkpoint).posterior(pictures(vectors["sgm_enc.x"]))
        expected_mean, logvar = vectors["sgm_enc.moments"].chunk(2, dim=1)
        assert relative_error(mean, expected_mean) < TOLERANCE
        assert relative_error(std, torch.exp(0.5 * logvar)) < TOLERANCE
