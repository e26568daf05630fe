"""A LoRA file as training writes it, through the core's own loaders, on our MODEL: it becomes the merged stage."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import comfy.model_management
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("keyframe", "interpolation")
RANK, ALPHA = 4, 6.0


@pytest.fixture(scope="module", autouse=True)
def training() -> Iterator[None]:
    """`training` and `keysync` under their own names, behind everything that ComfyUI has on the path."""
    sys.path.append(str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    yield
    comfy.model_management.unload_all_models()


class Files(NamedTuple):
    """A stage, adapters for it, and the stage with the adapters merged in."""

    stage: Path
    lora: Path
    merged: Path


@pytest.fixture
def files(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> Files:
    """Written by training's own code; no factor of the adapters is zero."""
    lora = importlib.import_module("training.weights.lora")
    checkpoint = importlib.import_module("keysync.weights.checkpoint")
    path = tiny / f"{request.param}.safetensors"
    settings = {"trainable": "lora", "start": str(path), "lora_rank": str(RANK), "lora_alpha": str(ALPHA)}
    config = importlib.import_module("training.config.config").load_config(f"tiny-{request.param}", None, settings)
    stage = lora.adapted(checkpoint.load_stage(path, dtype=torch.float32), config)
    torch.manual_seed(0)
    for name, parameter in stage.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    written = Files(path, tmp_path / "lora.safetensors", tmp_path / "merged.safetensors")
    lora.write_lora(written.lora, stage.spec, stage.state_dict(), config, {})
    checkpoint.save_stage(lora.merged(stage), written.merged)
    return written


def load(path: Path, extension: ModuleType) -> Any:
    """The stage in float32, whatever the core would choose."""
    return importlib.import_module(f"{extension.__name__}.nodes.host.model").load_model(path, torch.float32)


def picture(model: Any) -> Tensor:
    """What the model makes of one window of noise at one noise level: (t, 4, h, w)."""
    comfy.model_management.load_models_gpu([model])
    model.pre_run()
    network, spec = model.model, model.model.spec
    generator = torch.Generator().manual_seed(0)
    x = 3.0 * torch.randn(spec.window, 4, *spec.latent_size, generator=generator)
    features = torch.randn(1, spec.window, 2, spec.audio_channels, generator=generator)
    shape = (1, 4, *spec.latent_size) if spec.name == "keyframe" else (1, 2, 4, *spec.latent_size)
    known = torch.zeros(1, spec.window, 4, *spec.latent_size)
    # The extension's library is another module than the one that training imports.
    windows = importlib.import_module("keysync.network.stage").Windows(
        features, torch.randn(shape, generator=generator), known, known[:, :, :1]
    )
    condition = network.conditioner.condition(windows)
    conds = [{"model_conds": network.extra_conds(keysync_condition=condition, device=x.device), "uuid": 0}]
    with torch.no_grad():
        return comfy.samplers.calc_cond_batch(network, [conds], x, torch.full((len(x),), 3.0), model.model_options)[0]


def far(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("files", STAGES, indirect=True)
def test_the_core_s_loader_gives_the_merged_stage(files: Files, extension: ModuleType) -> None:
    model, merged = load(files.stage, extension), load(files.merged, extension)
    before, expected = picture(model), picture(merged)
    assert far(before, expected) > 0.02
    lora = comfy.utils.load_torch_file(str(files.lora))
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
    layers = {f"{name.removesuffix('.alpha')}.weight" for name in lora if name.endswith(".alpha")}
    assert patched.patches.keys() == layers  # every adapter found its layer
    assert far(picture(patched), expected) < 1e-4
    assert torch.equal(picture(model), before)


@pytest.mark.parametrize("files", STAGES[:1], indirect=True)
def test_the_core_s_node_at_half_strength(
    files: Files, extension: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half the change of each weight; and the core has nothing to say about keys that it does not know."""
    from nodes import LoraLoaderModelOnly

    _, extensions = folder_paths.folder_names_and_paths["loras"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(files.lora.parent)], extensions))
    folder_paths.filename_list_cache.clear()
    model = load(files.stage, extension)
    (patched,) = LoraLoaderModelOnly().load_lora_model_only(model, files.lora.name, 0.5)
    assert "lora key not loaded" not in caplog.text
    picture(patched)
    name = "middle_block.1.transformer_blocks.0.attn2.to_v"
    lora = comfy.utils.load_torch_file(str(files.lora))
    down, up = (lora[f"diffusion_model.{name}.lora_{part}.weight"] for part in "AB")
    held = comfy.utils.get_attr(patched.model, f"diffusion_model.{name}.weight").detach().clone()
    comfy.model_management.unload_all_models()
    base = comfy.utils.get_attr(load(files.stage, extension).model, f"diffusion_model.{name}.weight")
    assert torch.allclose(held - base, 0.5 * ALPHA / RANK * up @ down, atol=1e-5)
