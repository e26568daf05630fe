"""Load KeySync VAE and Decode Frames: the core's VAE, of any width, gives the method's numbers."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.sd
import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import nodes

TOLERANCE = 1e-4
SCALE = 0.18215


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.vae")


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """The mode that ComfyUI's executor runs nodes in."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def vectors(golden_folder: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(golden_folder / "vae.safetensors").items()}


@pytest.fixture(scope="module")
def vae(node: Any, tiny: Path) -> comfy.sd.VAE:
    return load(node, tiny / "vae")


@pytest.fixture
def models_folder(extension: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty model folders instead of ComfyUI's."""
    for kind in ("vae", "diffusers", "keysync", "checkpoints"):
        (tmp_path / kind).mkdir()
        extensions = folder_paths.folder_names_and_paths[kind][1]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(tmp_path / kind)], extensions))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def load(node: Any, path: Path) -> comfy.sd.VAE:
    vae: comfy.sd.VAE = part("nodes.host.vae").core_vae(part("keysync.vae.vae").read_vae(path))
    return vae


def relative(ours: Tensor, theirs: Tensor) -> float:
    return (ours - theirs).abs().max().item() / theirs.abs().max().item()


def pictures(tensor: Tensor) -> Tensor:
    return (tensor.movedim(1, -1) + 1) / 2


def test_diffusers_layout(node: Any, golden_folder: Path, vectors: dict[str, Tensor]) -> None:
    vae = load(node, golden_folder / "vae_diffusers_tiny.safetensors")
    assert relative(vae.encode(pictures(vectors["diffusers.x"])), vectors["diffusers.mean"]) < TOLERANCE
    expected = vectors["diffusers.decode_nf1"]
    decoded = part("nodes.host.vae").decode_frames(vae, vectors["diffusers.z"][: len(expected)] / SCALE)
    assert relative(decoded, pictures(expected).clamp(0, 1)) < TOLERANCE


def test_decoder_of_a_checkpoint(
    node: Any, golden_folder: Path, vectors: dict[str, Tensor], error: type[Exception]
) -> None:
    files = [golden_folder / f"{stage}_checkpoint.safetensors" for stage in ("keyframe", "interpolation")]
    holding = [file for file in files if any(name.startswith("first_stage_model.") for name in load_file(file))]
    assert holding
    expected = vectors["sgm.decode_t1"]
    for file in holding:
        vae = load(node, file)
        decoded = part("nodes.host.vae").decode_frames(vae, vectors["sgm.z"][: len(expected)])
        assert relative(decoded, pictures(expected).clamp(0, 1)) < TOLERANCE
        with pytest.raises(error, match="holds only the VAE's decoder, which cannot encode: load a whole"):
            vae.encode(torch.zeros(1, 64, 64, 3))


def test_sgm_layout_with_its_encoder(
    node: Any, golden_folder: Path, vectors: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "svd.safetensors"
    decoder = load_file(golden_folder / "keyframe_checkpoint.safetensors")
    whole = {name: tensor for name, tensor in decoder.items() if name.startswith("first_stage_model.decoder.")}
    encoder = load_file(golden_folder / "vae_sgm_encoder.safetensors")
    save_file(whole | {f"first_stage_model.{name}": tensor for name, tensor in encoder.items()}, file)
    expected, _ = vectors["sgm_enc.moments"].chunk(2, dim=1)
    assert relative(load(node, file).encode(pictures(vectors["sgm_enc.x"])), expected) < TOLERANCE


def test_the_same_as_the_library(node: Any, vae: comfy.sd.VAE, tiny: Path) -> None:
    library = part("keysync.vae.vae").load_vae(tiny / "vae")
    images = torch.rand(3, 64, 48, 3, generator=torch.Generator().manual_seed(0))
    latents = vae.encode(images)
    assert relative(latents * SCALE, library.encode(images)) < TOLERANCE
    assert (
        part("nodes.host.vae").decode_frames(vae, latents) - library.decode(latents * SCALE)
    ).abs().max() < TOLERANCE


def test_the_built_in_one_whose_widths_are_no_multiples_of_the_first(node: Any, models_folder: Path) -> None:
    (schema_input,) = node.LoadKeySyncVAE.define_schema().inputs
    assert schema_input.options == ["keysync-small-vae"]
    (vae,) = node.LoadKeySyncVAE.execute("keysync-small-vae").args
    library = part("keysync.vae.vae").load_vae(part("keysync.systems.keysync.small").SMALL["vae"])
    images = torch.rand(2, 64, 48, 3, generator=torch.Generator().manual_seed(0))
    latents = vae.encode(images)
    assert relative(latents * SCALE, library.encode(images)) < TOLERANCE
    assert (
        part("nodes.host.vae").decode_frames(vae, latents) - library.decode(latents * SCALE)
    ).abs().max() < TOLERANCE
    assert node.LoadKeySyncVAE.fingerprint_inputs("keysync-small-vae")


def test_frames_do_not_see_each_other(node: Any, vae: comfy.sd.VAE) -> None:
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([part("nodes.host.vae").decode_frames(vae, latents[index : index + 1]) for index in range(3)])
    together = part("nodes.host.vae").decode_frames(vae, latents)
    assert torch.equal(together, alone)
    assert (vae.decode(latents) - together).abs().max() > 1e-3  # the core's own mixes them


def test_core_nodes_work_on_it(node: Any, vae: comfy.sd.VAE, tmp_path: Path) -> None:
    images = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    (latent,) = nodes.VAEEncode().encode(vae, images)
    assert latent["samples"].shape == (2, 4, 8, 8)
    (decoded,) = nodes.VAEDecode().decode(vae, latent)
    assert decoded.shape == (2, 64, 64, 3)
    (tiled,) = nodes.VAEEncodeTiled().encode(vae, images, 512, 64)
    assert tiled["samples"].shape == (2, 4, 8, 8)
    # What the core saves is a whole VAE again.
    save_file({name: tensor.contiguous() for name, tensor in vae.get_sd().items()}, tmp_path / "saved.safetensors")
    assert torch.equal(load(node, tmp_path / "saved.safetensors").encode(images), vae.encode(images))


def test_it_is_unloaded_and_loaded_again(node: Any, vae: comfy.sd.VAE) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = part("nodes.host.vae").decode_frames(vae, latents)
    assert any(loaded.model is vae.patcher for loaded in comfy.model_management.current_loaded_models)
    comfy.model_management.unload_all_models()
    assert not comfy.model_management.current_loaded_models
    assert torch.equal(part("nodes.host.vae").decode_frames(vae, latents), before)
    assert vae.vae_dtype == torch.float32


def test_what_the_combo_box_offers(
    node: Any, models_folder: Path, tiny: Path, golden_folder: Path, error: type[Exception]
) -> None:
    shutil.copytree(tiny / "vae", models_folder / "vae" / "small")
    shutil.copytree(tiny / "vae", models_folder / "diffusers" / "svd" / "vae")
    shutil.copy(golden_folder / "vae_diffusers_tiny.safetensors", models_folder / "vae" / "file.safetensors")
    shutil.copy(golden_folder / "keyframe_checkpoint.safetensors", models_folder / "keysync")
    (schema_input,) = node.LoadKeySyncVAE.define_schema().inputs
    names = [
        *("keysync-small-vae", "small", "file.safetensors", str(Path("svd", "vae"))),
        "keyframe_checkpoint.safetensors",
    ]
    assert schema_input.options == names
    for name in names:
        (vae,) = node.LoadKeySyncVAE.execute(name).args
        assert vae.decode(torch.zeros(1, 4, 8, 8)).shape == (1, 64, 64, 3)
    first = node.LoadKeySyncVAE.fingerprint_inputs("small")
    assert node.LoadKeySyncVAE.fingerprint_inputs("small") == first
    shutil.copy(golden_folder / "vae_diffusers_tiny.safetensors", next((models_folder / "vae" / "small").glob("diff*")))
    assert node.LoadKeySyncVAE.fingerprint_inputs("small") != first
    with pytest.raises(error, match="gone is not in models/vae or models/diffusers or models/keysync or models/checkp"):
        node.LoadKeySyncVAE.execute("gone")


def test_decode_frames_refuses_what_is_no_frames(node: Any, vae: comfy.sd.VAE, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=r"shape of the latents is \[1, 16, 8, 8\], not \[frames, 4, height, width\]: connect"
    ):
        node.DecodeFrames.execute({"samples": torch.zeros(1, 16, 8, 8)}, vae)
    with pytest.raises(error, match="there are no latents to decode"):
        node.DecodeFrames.execute({"samples": torch.zeros(0, 4, 8, 8)}, vae)


def test_weights_that_do_not_fill_the_network(
    node: Any, golden_folder: Path, tmp_path: Path, error: type[Exception]
) -> None:
    weights = load_file(golden_folder / "vae_diffusers_tiny.safetensors")
    for name, problem in (
        ("encoder.conv_out.bias", "1 missing, first encoder.conv_out.bias"),
        ("encoder.mid_block.attentions.0.to_q.weight", "1 missing, first encoder.mid_block.attentions.0.to_q.weight"),
        ("quant_conv.bias", "1 missing, first quant_conv.bias"),
    ):
        file = tmp_path / "broken.safetensors"
        save_file({key: tensor for key, tensor in weights.items() if key != name}, file)
        with pytest.raises(error, match=problem):
            load(node, file)


def test_decoding_is_cancelled_between_frames(node: Any, vae: comfy.sd.VAE) -> None:
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        node.DecodeFrames.execute({"samples": torch.zeros(2, 4, 8, 8)}, vae)
