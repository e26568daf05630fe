"""The reference's checkpoints load whole, in every packing, and come back under their own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from keysync.errors import KeySyncError
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import convert, load_stage, save_stage
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors
from keysync.weights.stage_format import published_names

from .conftest import Golden

NEEDED = ("model.", "conditioner.embedders.2.")


def stage_files(golden: Golden) -> dict[str, Path]:
    return {stage: golden.path(f"{stage}_checkpoint.safetensors") for stage in ("keyframe", "interpolation")}


def settings(golden: Golden, stage: str) -> tuple[int, tuple[int, int]]:
    """Head dim and latent size, which the file lacks; the interpolation stage's learned mask tells its size."""
    mask = golden.tensors("interpolation_checkpoint")["model.learned_mask"]
    return golden.head_dim(stage), (mask.shape[1], mask.shape[2])


def test_widths_from_the_shapes(golden: Golden) -> None:
    for stage, path in stage_files(golden).items():
        head_dim, latent_size = settings(golden, stage)
        spec = load_stage(path, expect=stage, head_dim=head_dim, latent_size=latent_size).spec
        params = golden.facts(f"{stage}_checkpoint")["config"]["network_config"]["params"]
        assert spec.name == stage
        assert spec.latent_size == latent_size
        for name in (
            "in_channels",
            "out_channels",
            "model_channels",
            "num_res_blocks",
            "context_dim",
            "transformer_depth",
        ):
            assert getattr(spec.unet, name) == params[name], name
        assert spec.unet.channel_mult == tuple(params["channel_mult"])
        factors = [2**level for level in range(len(params["channel_mult"]))]
        assert spec.unet.attention == tuple(factor in params["attention_resolutions"] for factor in factors)


def test_every_value_arrives_and_comes_back(golden: Golden, tmp_path: Path) -> None:
    for stage, path in stage_files(golden).items():
        head_dim, latent_size = settings(golden, stage)
        expected = {
            name: tensor for name, tensor in golden.tensors(f"{stage}_checkpoint").items() if name.startswith(NEEDED)
        }
        loaded = load_stage(path, head_dim=head_dim, latent_size=latent_size, dtype=torch.float32)
        state = loaded.state_dict()
        names = published_names(loaded)
        assert names.keys() == expected.keys()
        assert all(torch.equal(state[names[name]], tensor) for name, tensor in expected.items())
        save_stage(loaded, tmp_path / "again.safetensors")
        again, metadata = read_tensors(tmp_path / "again.safetensors")
        assert metadata["keysync.stage"] == stage
        assert again.keys() == expected.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


def test_without_the_head_dim_the_way_out_is_named(golden: Golden) -> None:
    for stage, path in stage_files(golden).items():
        if golden.tensors(f"{stage}_checkpoint")["model.diffusion_model.out.0.weight"].shape[0] % 64:
            with pytest.raises(KeySyncError, match="convert the file with the head dim that it was trained with"):
                load_stage(path)


def test_convert_keeps_the_decoder(golden: Golden, tmp_path: Path) -> None:
    for stage, path in stage_files(golden).items():
        head_dim, latent_size = settings(golden, stage)
        source, target = read_tensors(path)[0], tmp_path / f"{stage}.safetensors"
        # As the published files come: DeepSpeed's container and names.
        packed = tmp_path / f"{stage}.pt"
        torch.save({"module": {f"_forward_module.{name}": tensor for name, tensor in source.items()}}, packed)
        convert(packed, target, head_dim=head_dim, latent_size=latent_size)
        converted, _ = read_tensors(target)
        assert converted.keys() == source.keys()
        assert all(torch.equal(converted[name], tensor) for name, tensor in source.items())
        loaded = load_stage(target, expect=stage)
        assert (loaded.spec.unet.head_dim, loaded.spec.latent_size) == (head_dim, latent_size)
        assert describe(target).kind == stage
        if describe(target).vae_decoder:
            latents = torch.ones(1, 4, *latent_size)
            assert torch.equal(load_vae(target).decode(latents), load_vae(path).decode(latents))


def test_packed_subset(golden: Golden) -> None:
    path = golden.path("keyframe_dub_tiny_subset.pt")
    packed, _ = read_tensors(path)
    whole = golden.tensors("keyframe_checkpoint")
    assert packed
    assert all(torch.equal(tensor.float(), whole[name]) for name, tensor in packed.items())
    with pytest.raises(KeySyncError, match=r"is not a complete keyframe stage: \S+ and \d+ more tensors are missing"):
        load_stage(path)


def test_what_the_other_files_are(golden: Golden) -> None:
    for name, kind in {
        "hubert_tiny": "hubert",
        "wavlm_tiny": "wavlm",
        "vae_diffusers_tiny": "vae",
        "vae_sgm_encoder": "vae",
    }.items():
        path = golden.path(f"{name}.safetensors")
        assert describe(path).kind == kind
        with pytest.raises(KeySyncError, match=r"expected a KeySync keyframe stage"):
            load_stage(path, expect="keyframe")


def test_the_other_stage_and_plain_svd(golden: Golden, tmp_path: Path) -> None:
    files = stage_files(golden)
    with pytest.raises(KeySyncError, match=r"is a KeySync interpolation stage .*: expected a KeySync keyframe stage"):
        load_stage(files["interpolation"], expect="keyframe")
    tensors = golden.tensors("keyframe_checkpoint")
    label = "model.diffusion_model.label_emb.0.0.weight"
    plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("conditioner.")}
    save_file({**plain, label: torch.zeros(tensors[label].shape[0], 768)}, tmp_path / "svd.safetensors")
    with pytest.raises(KeySyncError, match=r"is a plain Stable Video Diffusion model .*: expected a KeySync keyframe"):
        load_stage(tmp_path / "svd.safetensors", expect="keyframe")
