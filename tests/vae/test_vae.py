"""The VAE's front: layouts, batches, seeds, and an error for everything that is not one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import load_file, save_file
from torch import Tensor

import keysync.vae.vae
from keysync.errors import KeySyncError
from keysync.vae.one_frame import Block
from keysync.vae.vae import VAE, load_vae

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VAE of random weights as diffusers saves it; two levels, so 2 pixels for a latent cell."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vae")
    AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64), layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def vae(folder: Path) -> VAE:
    return load_vae(folder)


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / FILE)


def pictures(count: int = 5) -> Tensor:
    return torch.rand(count, 16, 12, 3, generator=torch.Generator().manual_seed(1))


def error_of(path: Path, decoder_from: Path | None = None) -> str:
    with pytest.raises(KeySyncError) as caught:
        load_vae(path, decoder_from=decoder_from)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shapes_range_and_type(folder: Path) -> None:
    vae = load_vae(folder)
    with torch.no_grad():
        vae.decoder.get_parameter("time_conv_out.middle.weight").mul_(100)
    latents = vae.encode(pictures())
    assert latents.shape == (5, 4, 8, 6)
    decoded = vae.decode(latents)
    assert decoded.shape == (5, 16, 12, 3)
    assert decoded.dtype == torch.float32
    assert decoded.min() == 0
    assert decoded.max() == 1


def test_the_batch_changes_nothing(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vae.batch == 8
    latents = vae.encode(pictures())
    decoded = vae.decode(latents)
    monkeypatch.setattr(VAE, "batch", 1)
    torch.testing.assert_close(vae.encode(pictures()), latents, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(vae.decode(latents), decoded, rtol=1e-5, atol=1e-6)


def test_frames_do_not_depend_on_each_other(vae: VAE) -> None:
    latents = vae.encode(pictures())
    torch.testing.assert_close(vae.decode(latents)[3:4], vae.decode(latents[3:4]), rtol=1e-5, atol=1e-6)


def test_a_seed_samples_the_posterior_the_same_in_any_chunks(vae: VAE) -> None:
    def sample(*chunks: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.cat([vae.encode(chunk, generator=generator) for chunk in chunks])

    whole = sample(pictures())
    torch.testing.assert_close(sample(pictures()[:2], pictures()[2:]), whole)
    mean, std = vae.posterior(pictures())
    assert not torch.equal(whole, vae.encode(pictures()))
    deviation = (whole / 0.18215 - mean) / std
    assert 0.8 < deviation.std() < 1.2


def test_half_precision(folder: Path, vae: VAE) -> None:
    half = load_vae(folder, dtype=torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16
    latents = vae.encode(pictures())
    # As a whole: processors round bfloat16 at different places. Here 0.7 and 0.3 %.
    assert (half.encode(pictures()) - latents).norm() < 0.05 * latents.norm()
    decoded = half.decode(latents)
    assert decoded.dtype == torch.float32
    assert (decoded - vae.decode(latents)).norm() < 0.05 * decoded.norm()


def test_double_precision(folder: Path, vae: VAE) -> None:
    double = load_vae(folder, dtype=torch.float64)
    latents = double.encode(pictures())
    decoded = double.decode(latents)
    assert (latents.dtype, decoded.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(latents.float(), vae.encode(pictures()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoded.float(), vae.decode(latents.float()), rtol=1e-4, atol=1e-5)


def test_every_file_of_diffusers_layout_gives_the_same(tmp_path: Path, vae: VAE, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "vae.safetensors")
    torch.save(weights, tmp_path / "vae.bin")
    (tmp_path / "fp16").mkdir()
    save_file(weights, tmp_path / "fp16" / "diffusion_pytorch_model.fp16.safetensors")
    (tmp_path / "bin").mkdir()
    torch.save(weights, tmp_path / "bin" / "diffusion_pytorch_model.bin")
    expected = vae.encode(pictures())
    for name in ("vae.safetensors", "vae.bin", "fp16", "bin"):
        torch.testing.assert_close(load_vae(tmp_path / name).encode(pictures()), expected)


def test_the_weights_outlive_their_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "vae.safetensors"
    save_file(weights, path)
    vae = load_vae(path)
    before = vae.encode(pictures())
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(vae.encode(pictures()), before)


def test_a_decoder_alone_decodes_and_says_why_it_cannot_encode(
    tmp_path: Path, vae: VAE, weights: dict[str, Tensor]
) -> None:
    path = tmp_path / "decoder.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if name.startswith("decoder.")}, path)
    decoder = load_vae(path)
    latents = vae.encode(pictures())
    torch.testing.assert_close(decoder.decode(latents), vae.decode(latents))
    with pytest.raises(KeySyncError, match=r"decoder\.safetensors contains only the decoder of a VAE: expected a comp"):
        decoder.encode(pictures())


def test_the_decoder_of_another_file(tmp_path: Path, vae: VAE, weights: dict[str, Tensor]) -> None:
    encoder, decoder = tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if not name.startswith("decoder.")}, encoder)
    save_file({name: 2 * tensor for name, tensor in weights.items() if name.startswith("decoder.")}, decoder)
    mixed = load_vae(encoder, decoder_from=decoder)
    latents = vae.encode(pictures())
    torch.testing.assert_close(mixed.encode(pictures()), latents)
    assert not torch.allclose(mixed.decode(latents), vae.decode(latents))
    assert "encoder.safetensors contains no VAE decoder: expected the temporal decoder" in error_of(encoder)


def test_sides_that_the_network_cannot_halve(vae: VAE) -> None:
    with pytest.raises(KeySyncError, match="images of 12x15 pixels cannot be encoded: expected sides divisible by 2"):
        vae.encode(torch.zeros(1, 15, 12, 3))


def test_files_that_are_no_vae(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"something": torch.zeros(1)}, other)
    assert "other.safetensors is an unknown kind of file" in error_of(other)
    assert "expected a Stable Video Diffusion VAE" in error_of(other)
    assert "is a folder without diffusion_pytorch_model.safetensors" in error_of(tmp_path)
    assert "nowhere.safetensors: no such file" in error_of(tmp_path / "nowhere.safetensors")
    still = tmp_path / "still.safetensors"
    names = {name: name.replace("spatial_res_block.", "") for name in weights if "temporal" not in name}
    save_file({names[name]: weights[name] for name in names}, still)
    assert "still.safetensors contains a VAE for single images: expected the temporal decoder" in error_of(still)


def test_missing_misshapen_and_unknown_tensors(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "vae.safetensors"
    name = "encoder.down_blocks.0.resnets.0.conv2.weight"
    save_file({key: tensor for key, tensor in weights.items() if key != name}, path)
    assert f"does not contain a complete VAE encoder: 1 missing, first {name}" in error_of(path)
    save_file({**weights, name: torch.zeros(1)}, path)
    assert f"does not contain a complete VAE encoder: 1 misshapen, first {name}" in error_of(path)
    save_file({**weights, "decoder.extra": torch.zeros(1)}, path)
    assert "does not contain a complete VAE decoder: 1 unknown, first decoder.extra" in error_of(path)
    save_file({**weights, "encoder.down_blocks.0.resnets.0.conv1.weight": torch.zeros(40, 3, 3, 3)}, path)
    assert "multiples of 32" in error_of(path)
    fewer = {key: tensor for key, tensor in weights.items() if ".1." not in key or key.startswith("decoder.")}
    save_file(fewer, path)
    assert "the encoder has 1 levels but the decoder has 2" in error_of(path)


@pytest.mark.parametrize("idle", [False, True])
def test_what_is_left_out_for_one_frame_changes_nothing(idle: bool, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    """Also where the blocks over time add nothing, and are left out whole."""
    if idle:
        quiet = {name: torch.zeros_like(part) for name, part in weights.items() if "temporal_res_block.conv2" in name}
        assert quiet
        weights = {**weights, **quiet}
    save_file(weights, tmp_path / "vae.safetensors")
    loaded = load_vae(tmp_path / "vae.safetensors")
    network = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64), layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2
    )
    network.load_state_dict(weights)
    z = torch.randn(2, 4, 4, 6)
    with torch.no_grad():
        decoded = network.eval().decoder(z, image_only_indicator=torch.zeros(2, 1), num_frames=1)
    expected = ((decoded + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(loaded.decode(z * 0.18215), expected, atol=1e-5, rtol=0)
    blocks = [module for module in loaded.decoder.modules() if isinstance(module, Block)]
    assert {len(block) for block in blocks} == {1 if idle else 2}
    assert len(blocks) == sum(hasattr(module, "temporal_res_block") for module in network.modules())


def test_frames_that_a_gpu_does_not_hold_together_go_one_by_one(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """And give the same."""
    images = pictures()
    latents = vae.encode(images)
    expected = vae.decode(latents)
    monkeypatch.setattr(keysync.vae.vae, "cores", lambda *_: 1)
    refused: list[int] = []
    for part in (vae.encoder, vae.decoder):
        assert part is not None
        whole = part.forward

        def limited(given: Tensor, *, whole: Callable[..., Tensor] = whole, **more: Any) -> Tensor:
            if len(given) > 1:
                refused.append(len(given))
                raise torch.OutOfMemoryError
            return whole(given, **more)

        monkeypatch.setattr(part, "forward", limited)
    torch.testing.assert_close(vae.encode(images), latents, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(vae.decode(latents), expected, rtol=1e-5, atol=1e-6)
    assert refused == [5, 5]
