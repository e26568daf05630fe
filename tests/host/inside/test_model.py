"""Load KeySync Model: the core's network gives the method's numbers, and the core's model tools work on it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import latent_preview
import numpy as np
import pytest
import torch
from comfy_extras.nodes_model_merging import ModelSave
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

STAGES = ("keyframe", "interpolation")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="session")
def loader(extension: ModuleType) -> Any:
    return part("nodes.model")


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    yield
    comfy.model_management.unload_all_models()


@pytest.fixture
def golden_model(loader: Any, golden_folder: Path, tmp_path: Path) -> Any:
    """Loads a golden checkpoint; its head dim, which no shape tells, becomes metadata."""

    def load(stage: str) -> Any:
        facts = json.loads((golden_folder / f"{stage}_checkpoint.json").read_text())
        head_dim = facts["config"]["network_config"]["params"]["num_head_channels"]
        part("keysync.weights.checkpoint").convert(
            golden_folder / f"{stage}_checkpoint.safetensors",
            tmp_path / f"{stage}.safetensors",
            head_dim=head_dim,
            dtype=torch.float32,
        )
        return part("nodes.host.model").load_model(tmp_path / f"{stage}.safetensors")

    return load


def golden_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(folder / f"{name}.safetensors").items()}


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max().clamp_min(1e-30))


def running(model: Any) -> Any:
    """The network of a MODEL, loaded as the core does before it samples."""
    comfy.model_management.load_models_gpu([model])
    model.pre_run()
    return model.model


def picture(model: Any, seed: int = 0) -> Tensor:
    """What the loaded model makes of one window of noise at one noise level: (t, 4, h, w)."""
    network, spec = running(model), model.model.spec
    generator = torch.Generator().manual_seed(seed)
    x = 3.0 * torch.randn(spec.window, 4, *spec.latent_size, generator=generator)
    features = torch.randn(1, spec.window, 2, spec.audio_channels, generator=generator)
    shape = (1, 4, *spec.latent_size) if spec.name == "keyframe" else (1, 2, 4, *spec.latent_size)
    known = torch.zeros(1, spec.window, 4, *spec.latent_size)
    windows = part("keysync.network.stage").Windows(
        features, torch.randn(shape, generator=generator), known, known[:, :, :1]
    )
    condition = network.conditioner.condition(windows)
    conds = [{"model_conds": network.extra_conds(keysync_condition=condition, device=x.device), "uuid": 0}]
    with torch.no_grad():
        return comfy.samplers.calc_cond_batch(network, [conds], x, torch.full((len(x),), 3.0), model.model_options)[0]


@pytest.mark.parametrize("stage", STAGES)
def test_the_unet_gives_the_golden_numbers(stage: str, golden_model: Any, golden_folder: Path) -> None:
    unet = golden_model(stage).model.diffusion_model
    golden = golden_tensors(golden_folder, f"unet_{stage}")
    cases = [name.removesuffix(".x") for name in golden if name.endswith(".x") and f"{name[:-2]}.context" in golden]
    assert cases
    for case in cases:
        context = golden[f"{case}.context"]
        with torch.no_grad():
            out = unet(
                golden[f"{case}.x"],
                golden[f"{case}.timesteps"],
                context=context.repeat_interleave(context.shape[1], dim=0),
                y=context.flatten(0, 1),
                num_video_frames=context.shape[1],
                image_only_indicator=golden[f"{case}.image_only_indicator"],
            )
        assert relative_error(out, golden[f"{case}.out"]) < 1e-4, case


@pytest.mark.parametrize("stage", STAGES)
def test_the_denoiser_gives_the_golden_numbers(stage: str, golden_model: Any, golden_folder: Path) -> None:
    """Through the core's own inpainting sampler model, whose inner model is asked for one condition."""
    model = golden_model(stage)
    network = running(model)
    golden = golden_tensors(golden_folder, "denoiser")
    cases = [name.removesuffix(".denoised") for name in golden if name.startswith(stage) and name.endswith(".denoised")]
    assert cases
    for case in cases:
        tokens = golden[f"{case}.crossattn"]
        known, mask = (
            golden[f"{case}.{name}"].transpose(1, 2).flatten(0, 1)  # b c t h w -> (b t) c h w
            for name in ("gt", "masks")
        )
        reference = reference_of(golden[f"{case}.concat"], tokens.shape[1], network.learned_mask)
        condition = part("keysync.network.stage").Condition(tokens, reference, known, mask)
        conds = [{"model_conds": network.extra_conds(keysync_condition=condition, device=known.device), "uuid": 0}]

        class Inner:
            inner_model = network

            def __call__(self, x: Tensor, sigma: Tensor, conds: Any = conds, **_: Any) -> Tensor:
                return comfy.samplers.calc_cond_batch(network, [conds], x, sigma, model.model_options)[0]

        sampler_model = comfy.samplers.KSamplerX0Inpaint(Inner(), golden[f"{case}.sigma"])
        sampler_model.latent_image, sampler_model.noise = known, torch.zeros_like(known)
        with torch.no_grad():
            denoised = sampler_model(golden[f"{case}.x"], golden[f"{case}.sigma"], denoise_mask=mask)
        assert relative_error(denoised, golden[f"{case}.denoised"]) < 2e-3, case


def reference_of(concat: Tensor, frames: int, learned_mask: Tensor | None) -> Tensor:
    """What is concatenated, (b, t, r, h, w), of the golden `concat`: one latent, or two over channels."""
    if learned_mask is None:
        return concat[:, None].expand(-1, frames, -1, -1, -1)
    first, last = concat.chunk(2, dim=1)
    between = learned_mask.expand(len(concat), frames - 2, -1, -1, -1)
    sequence = torch.cat((first[:, None], between, last[:, None]), dim=1)
    ends = torch.zeros_like(sequence[:, :, :1])
    ends[:, [0, -1]] = 1.0
    return torch.cat((sequence, ends), dim=2)


@pytest.mark.parametrize("stage", STAGES)
def test_any_widths_give_what_the_library_gives(stage: str, loader: Any, tmp_path: Path) -> None:
    stages, checkpoint = part("keysync.network.stage"), part("keysync.weights.checkpoint")
    torch.manual_seed(0)
    unet = part("keysync.network.unet").UNetConfig(
        9 if stage == "interpolation" else 8, 32, (1, 2, 3), (True, False, True), 2, 16, 48, transformer_depth=2
    )
    ours = stages.Stage(stages.StageSpec(stage, unet, 20, (8, 16), 5, "wavlm")).eval()
    checkpoint.save_stage(ours, tmp_path / "stage.safetensors")
    model = part("nodes.host.model").load_model(tmp_path / "stage.safetensors")
    assert model.model.spec == ours.spec
    x = torch.randn(10, unet.in_channels, 8, 16)
    tokens, c_noise = torch.randn(2, 5, 48), torch.linspace(-1, 1, 10)
    with torch.no_grad():
        theirs = model.model.diffusion_model(
            x, c_noise, context=tokens.repeat_interleave(5, 0), y=tokens.flatten(0, 1), num_video_frames=5
        )
        assert relative_error(theirs, ours.unet(x, c_noise, tokens)) < 1e-4


@pytest.mark.parametrize("stage", STAGES)
def test_save_model_and_load_again(
    stage: str, loader: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    model = part("nodes.host.model").load_model(tiny / f"{stage}.safetensors")
    ModelSave().save(model, "again", prompt={}, extra_pnginfo=None)
    (file,) = tmp_path.glob("*.safetensors")
    with safe_open(file, "pt") as saved, safe_open(tiny / f"{stage}.safetensors", "pt") as source:
        assert set(source.keys()) <= set(saved.keys())
        for name in source.keys():  # noqa: SIM118
            assert torch.equal(saved.get_tensor(name).float(), source.get_tensor(name).float()), name
    again = part("nodes.host.model").load_model(file)
    assert again.model.spec == model.model.spec
    assert torch.equal(picture(again), picture(model))


def test_a_lora_of_the_core_changes_the_picture(loader: Any, tiny: Path, tmp_path: Path) -> None:
    model = part("nodes.host.model").load_model(tiny / "keyframe.safetensors")
    before = picture(model)
    weight = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v"
    out, into = comfy.utils.get_attr(model.model, f"{weight}.weight").shape
    save_file(
        {f"{weight}.lora_up.weight": torch.randn(out, 4), f"{weight}.lora_down.weight": torch.randn(4, into)},
        tmp_path / "lora.safetensors",
    )
    lora = comfy.utils.load_torch_file(str(tmp_path / "lora.safetensors"))
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
    assert patched.patches.keys() == {f"{weight}.weight"}
    assert not torch.allclose(picture(patched), before, rtol=1e-3, atol=1e-3)
    assert torch.equal(picture(model), before)


def stored(model: Any) -> list[Tensor]:
    """The weights of the chosen dtype; the core keeps the numbers that blend space and time in float32."""
    return [weight for weight in model.model.diffusion_model.parameters() if weight.numel() > 1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 1e-6), ("bf16", 3e-2), ("fp8_e4m3fn", 0.5)])
@pytest.mark.parametrize("stage", STAGES)
def test_smaller_weights_give_the_picture_within_their_error(
    stage: str, dtype: str, tolerance: float, loader: Any, tiny: Path
) -> None:
    """Against the same weights rounded by hand the picture is the same; against whole ones, near."""
    kind = loader.WEIGHT_DTYPES[dtype]
    model = part("nodes.host.model").load_model(tiny / f"{stage}.safetensors", kind)
    assert {weight.dtype for weight in stored(model)} == {kind}
    ours = picture(model)
    rounded = part("nodes.host.model").load_model(tiny / f"{stage}.safetensors", torch.float32)
    whole = picture(rounded)
    comfy.model_management.unload_all_models()
    for weight in stored(rounded):
        weight.data = weight.data.to(kind).float()
    assert relative_error(ours, picture(rounded)) < 1e-4
    error = relative_error(ours, whole)
    assert error < tolerance
    assert dtype == "fp16" or error > 0.0  # the tiny files are fp16: only fewer bits change them


@pytest.mark.parametrize("stage", STAGES)
def test_unload_and_load_again(stage: str, loader: Any, tiny: Path) -> None:
    model = part("nodes.host.model").load_model(tiny / f"{stage}.safetensors")
    before = picture(model)
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    assert model not in comfy.model_management.loaded_models()
    assert torch.equal(picture(model), before)


@pytest.mark.parametrize("stage", STAGES)
def test_most_weights_left_out_of_the_device_memory(stage: str, loader: Any, tiny: Path) -> None:
    model = part("nodes.host.model").load_model(tiny / f"{stage}.safetensors")
    before = picture(model)
    comfy.model_management.unload_all_models()
    model.partially_load(model.load_device, extra_memory=1)
    assert model.model.model_lowvram
    network = model.model.diffusion_model
    assert any(getattr(module, "prev_comfy_cast_weights", None) is not None for module in network.modules())
    assert torch.equal(picture(model), before)


def test_files_of_all_three_folders_are_offered(
    loader: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in part("nodes.host.model").FOLDERS:
        (tmp_path / folder).mkdir()
        shutil.copy(tiny / "keyframe.safetensors", tmp_path / folder / f"in_{folder}.safetensors")
        _, extensions = folder_paths.folder_names_and_paths[folder]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path / folder)], extensions))
    (tmp_path / "keysync" / "notes.txt").write_text("no model")
    folder_paths.filename_list_cache.clear()
    built_in = [f"keysync-small-{stage}.safetensors" for stage in STAGES]
    assert part("nodes.host.model").model_files() == built_in + [
        f"in_{folder}.safetensors" for folder in part("nodes.host.model").FOLDERS
    ]
    schema = loader.LoadKeySyncModel.define_schema()
    assert schema.inputs[0].options == part("nodes.host.model").model_files()
    (model,) = loader.LoadKeySyncModel.execute("in_checkpoints.safetensors", "default").args
    assert model.model.spec.name == "keyframe"

    before = loader.LoadKeySyncModel.fingerprint_inputs("in_keysync.safetensors", "default")
    assert loader.LoadKeySyncModel.fingerprint_inputs("in_keysync.safetensors", "default") == before
    assert loader.LoadKeySyncModel.fingerprint_inputs("in_keysync.safetensors", "bf16") != before
    os.utime(tmp_path / "keysync" / "in_keysync.safetensors", ns=(1, 1))
    assert loader.LoadKeySyncModel.fingerprint_inputs("in_keysync.safetensors", "default") != before


def test_the_folder_of_models_is_there_after_the_first_start(loader: Any) -> None:
    assert Path(folder_paths.models_dir, "keysync").is_dir()
    assert folder_paths.get_folder_paths("keysync")[0] == str(Path(folder_paths.models_dir, "keysync"))


def test_a_folder_of_models_that_cannot_be_made_is_no_error(
    loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "keysync", ([], set()))
    (tmp_path / "models").write_text("a file")
    with caplog.at_level("INFO"):
        part("nodes.host.model").register(tmp_path / "models" / "keysync")
    assert folder_paths.get_folder_paths("keysync") == [str(tmp_path / "models" / "keysync")]
    assert f"the folder {tmp_path / 'models' / 'keysync'} cannot be created: " in caplog.text


def test_the_built_in_stages_come_first_and_load(loader: Any) -> None:
    """Beside the stages their folder holds a VAE and a speech encoder, which no list of stages offers."""
    options = loader.LoadKeySyncModel.define_schema().inputs[0].options
    assert options[:2] == [f"keysync-small-{stage}.safetensors" for stage in STAGES]
    assert not [name for name in options if "vae" in name or "hubert" in name]
    for stage, name in zip(STAGES, options, strict=False):
        (model,) = loader.LoadKeySyncModel.execute(name, "default").args
        assert (model.model.spec.name, model.model.spec.crop_scale) == (stage, 1.4)
        assert loader.LoadKeySyncModel.fingerprint_inputs(name, "default")


def test_the_core_s_lists_do_not_hold_what_is_built_in(loader: Any) -> None:
    for kind in (*part("nodes.host.model").FOLDERS, "vae", "audio_encoders", "diffusers"):
        assert not [name for name in folder_paths.get_filename_list(kind) if "keysync-small" in name]


def test_a_file_that_has_gone(loader: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"gone.safetensors is in none of models/keysync, models/diffusion_models"):
        part("nodes.host.model").model_path("gone.safetensors")


def test_a_file_that_is_no_stage(loader: Any, error: type[Exception], tiny: Path) -> None:
    with pytest.raises(error, match=r"is a HuBERT speech encoder .*: expected a KeySync keyframe or interpolation"):
        part("nodes.host.model").load_model(tiny / "hubert" / "model.safetensors")


def test_whole_numbers_are_no_weights(loader: Any, error: type[Exception], tiny: Path, tmp_path: Path) -> None:
    with safe_open(tiny / "keyframe.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = load_file(tiny / "keyframe.safetensors")
    name = "model.diffusion_model.out.2.weight"
    save_file({**tensors, name: tensors[name].to(torch.int8)}, tmp_path / "int8.safetensors", metadata)
    with pytest.raises(error, match=f"{name} has dtype torch.int8: expected floating-point weights"):
        part("nodes.host.model").load_model(tmp_path / "int8.safetensors")


def test_the_core_s_own_samplers_are_refused(loader: Any, error: type[Exception], tiny: Path) -> None:
    model = part("nodes.host.model").load_model(tiny / "keyframe.safetensors")
    with pytest.raises(error, match="the KeySync keyframe model is connected to a sampler without speech: use"):
        model.model.extra_conds(noise=torch.zeros(1, 4, 8, 8), device="cpu")


@pytest.mark.parametrize("stage", STAGES)
def test_previews_of_the_built_in_model_have_the_colours_of_the_pictures(
    loader: Any, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Auto)
    host = part("nodes.host.model")
    patcher = host.load_model(next(path for name, path in host.BUILT_IN.items() if stage in name))
    vaes = part("nodes.vae")
    vae = vaes.core_vae(part("keysync.vae.vae").read_vae(next(iter(vaes.BUILT_IN.values()))))
    _, frame = next(part("keysync.media.reader").VideoReader(part("keysync.demo").TALK).frames())
    h, w, _ = frame.shape
    square = frame[h // 2 - 96 : h // 2 + 96, w // 2 - 96 : w // 2 + 96]
    planes = torch.from_numpy(square.copy()).movedim(-1, 0)[None] / 255
    picture = torch.nn.functional.interpolate(planes, (128, 128), mode="area").movedim(1, -1)
    with torch.inference_mode():
        latents = vae.encode(picture)
        decoded = vae.decode(latents)
        scaled = patcher.model.process_latent_in(latents)
    previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
    foreign = latent_preview.get_previewer(patcher.load_device, comfy.latent_formats.SD15())
    assert previewer is not None
    assert foreign is not None
    shown = torch.from_numpy(np.asarray(previewer.decode_latent_to_preview(scaled)).copy()) / 255
    seen = torch.nn.functional.avg_pool2d(decoded.movedim(-1, 1), 8).movedim(1, -1)[0]
    assert shown.shape == seen.shape == (16, 16, 3)
    assert float((shown.mean((0, 1)) - seen.mean((0, 1))).abs().max()) < 0.04
    assert float((shown - seen).abs().mean()) < 0.05
    # With the factors of Stable Video Diffusion's VAE they are other colours.
    wrong = torch.from_numpy(np.asarray(foreign.decode_latent_to_preview(scaled)).copy()) / 255
    assert float((wrong - seen).abs().mean()) > 0.15


def test_previews_of_other_models_are_the_cores(loader: Any, tiny: Path) -> None:
    patcher = part("nodes.host.model").load_model(tiny / "keyframe.safetensors")
    assert patcher.model.latent_format.latent_rgb_factors == comfy.latent_formats.SD15().latent_rgb_factors
