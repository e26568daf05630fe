"""The reference's checkpoints load whole, in the published packing, and come back under their own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from keysync.errors import KeySyncError
from keysync.network.stage import Stage
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import convert, load_stage, load_weak
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors
from keysync.weights.stage_format import published_names

from ..conftest import Golden
from .conftest import NAMES


def test_widths_from_the_shapes(keyface: Golden, stages: dict[str, Stage]) -> None:
    for name, ours in NAMES.items():
        params = keyface.facts(f"{name}_checkpoint")["config"]["network_config"]["params"]
        spec = stages[name].spec
        assert spec.name == ours
        for width in ("in_channels", "model_channels", "num_res_blocks", "context_dim", "transformer_depth"):
            assert getattr(spec.unet, width) == params[width], width
        assert spec.unet.vector_dim == params["adm_in_channels"]
        assert spec.unet.channel_mult == tuple(params["channel_mult"])
        assert spec.audio_channels == params.get("audio_channels", spec.audio_channels)


def test_as_published_and_converted(keyface: Golden, stages: dict[str, Stage], tmp_path: Path) -> None:
    for name, ours in NAMES.items():
        source = read_tensors(keyface.path(f"{name}_checkpoint.safetensors"))[0]
        packed, target = tmp_path / f"{name}.pt", tmp_path / f"{name}.safetensors"
        torch.save({"module": {f"_forward_module.{key}": tensor for key, tensor in source.items()}}, packed)
        spec = stages[name].spec
        convert(packed, target, head_dim=spec.unet.head_dim, latent_size=spec.latent_size)
        converted, metadata = read_tensors(target)
        assert all(torch.equal(converted[key], tensor) for key, tensor in source.items())
        assert metadata["keysync.stage"] == ours
        assert metadata["keysync.speech_encoder"] == spec.speech_encoder
        assert "keysync.mask" not in metadata
        again = load_stage(target, expect=ours, dtype=torch.float32)
        assert again.spec == spec
        state = stages[name].state_dict()
        assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in state.items())
        assert published_names(again).keys() <= source.keys()
        assert describe(target).kind == ours
    whole = keyface.path("keyframe_checkpoint.safetensors")
    if any(name.startswith("first_stage_model.") for name in read_tensors(whole)[0]):
        assert load_vae(whole).encoder is None


def test_the_bad_network_is_known_by_its_role(keyface: Golden, stages: dict[str, Stage], tmp_path: Path) -> None:
    path, good, bad = keyface.path("interpolation_bad_checkpoint.pt"), stages["interpolation"], stages["bad"]
    tensors = read_tensors(path)[0]
    assert torch.equal(bad.state_dict()["learned_mask"], tensors["model.learned_mask"].float())
    assert torch.equal(bad.audio_projection.weight, good.audio_projection.weight)  # its own is not used
    theirs = tensors["conditioner.embedders.1.linear.weight"].float()
    assert not torch.equal(bad.audio_projection.weight, theirs)
    convert(path, tmp_path / "weak.safetensors", head_dim=good.spec.unet.head_dim, weak=True)
    again = load_weak(tmp_path / "weak.safetensors", good, dtype=torch.float32)
    assert again.spec.weak
    assert all(torch.equal(value, bad.state_dict()[key]) for key, value in again.state_dict().items())
    bare = {key: tensor for key, tensor in tensors.items() if key.startswith("model.")}
    save_file(bare, tmp_path / "bare.safetensors")
    again = load_weak(tmp_path / "bare.safetensors", good, dtype=torch.float32)
    assert all(torch.equal(value, bad.state_dict()[key]) for key, value in again.state_dict().items())


def test_what_cannot_guide(keyface: Golden, stages: dict[str, Stage], tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"is a KeyFace keyframe stage .*: expected a KeyFace interpolation stage"):
        load_weak(keyface.path("keyframe_checkpoint.safetensors"), stages["interpolation"])
    tensors = read_tensors(keyface.path("interpolation_bad_checkpoint.pt"))[0]
    del tensors["model.learned_mask"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(KeySyncError, match=r"model\.learned_mask is missing"):
        load_weak(tmp_path / "less.safetensors", stages["interpolation"])


def test_each_stage_in_its_place(keyface: Golden) -> None:
    for name, other in (("keyframe", "interpolation"), ("interpolation", "keyframe")):
        with pytest.raises(KeySyncError, match=f"is a KeyFace {name} stage .*: expected a KeyFace {other} stage"):
            load_stage(keyface.path(f"{name}_checkpoint.safetensors"), expect=NAMES[other])
        with pytest.raises(KeySyncError, match=f"is a KeyFace {name} stage .*: expected a KeySync {other} stage"):
            load_stage(keyface.path(f"{name}_checkpoint.safetensors"), expect=other)
