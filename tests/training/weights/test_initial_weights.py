"""What a run starts from: new weights, a KeySync checkpoint, Stable Video Diffusion in both of its layouts."""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.layers import Residual, VideoTransformer
from keysync.network.stage import SCALE_FACTOR, Stage, Windows
from keysync.weights.checkpoint import load_stage, save_stage
from training.config.config import TrainConfig
from training.weights.initial_weights import starting_stage

from ...tiny_models import AUDIO_CHANNELS, LATENT_SIZE
from ..small_config import small_config
from .svd_files import CONTEXT, FRAMES, HEAD_DIM, diffusers_unet, sgm_tensors, write_diffusers

STAGES = ("keyframe", "interpolation")
UNET = "model.diffusion_model."


def settings(stage: str, **changes: Any) -> TrainConfig:
    return small_config(stage, **changes)


def start(config: TrainConfig) -> Stage:
    return starting_stage(config, LATENT_SIZE, AUDIO_CHANNELS)


@pytest.mark.parametrize("name", STAGES)
def test_new_weights_begin_with_nothing_added(name: str) -> None:
    config = settings(name)
    state = torch.random.get_rng_state()
    stage = start(config)
    assert torch.equal(state, torch.random.get_rng_state())
    spec = stage.spec
    assert (spec.name, spec.audio_channels, spec.latent_size) == (name, AUDIO_CHANNELS, LATENT_SIZE)
    assert (spec.window, spec.speech_encoder) == (config.window, config.speech_encoder)
    assert spec.unet.in_channels == (8 if name == "keyframe" else 9)
    assert all(parameter.dtype == torch.float32 and parameter.requires_grad for parameter in stage.parameters())
    branches = [module.out_layers[-1] for module in stage.unet.modules() if isinstance(module, Residual)]
    branches += [module.proj_out for module in stage.unet.modules() if isinstance(module, VideoTransformer)]
    assert len(branches) == 2 * 8 + 4
    zero = {id(parameter) for layer in (*branches, stage.unet.out[-1]) for parameter in layer.parameters()}
    for key, parameter in stage.named_parameters():
        if parameter.ndim > 1:  # what norms add is zero too
            assert bool(parameter.any()) != (id(parameter) in zero or key == "learned_mask"), key
        assert "mix_factor" not in key or parameter.item() == 0.5


def test_new_weights_denoise_to_what_preconditioning_skips() -> None:
    """The network adds nothing yet: the denoised latents are c_skip times the noisy ones, inside the mask."""
    stage = start(settings("keyframe"))
    shape = (1, 14, 4, *LATENT_SIZE)
    windows = Windows(
        torch.randn(1, 14, 2, AUDIO_CHANNELS),
        torch.randn(1, 4, *LATENT_SIZE),
        torch.zeros(shape),
        torch.ones(1, 14, 1, 8, 8),
    )
    condition = stage.condition(windows)
    x = torch.randn(shape)
    with torch.no_grad():
        assert torch.allclose(stage(x, torch.tensor([3.0]), condition), x / 10, atol=1e-6)


def test_a_seed_means_the_same_new_weights() -> None:
    first, again, other = (start(settings("keyframe", seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["audio_projection.weight"], other["audio_projection.weight"])


def test_new_weights_are_of_the_data_s_crops() -> None:
    assert starting_stage(settings("keyframe"), LATENT_SIZE, AUDIO_CHANNELS, 1.4).spec.crop_scale == 1.4
    assert start(settings("keyframe")).spec.crop_scale == 2.0


@pytest.mark.parametrize("changes", [{}, {"audio_guidance": 3.0}, {"audio_guidance": 3.0, "identity_guidance": 1.0}])
def test_a_stage_is_guided_as_the_settings_say(changes: dict[str, float], tiny_files: dict[str, Path]) -> None:
    for first in ("", str(tiny_files["keyframe"])):
        spec = start(settings("keyframe", start=first, **changes)).spec
        wanted = {"audio_guidance": 5.0, "identity_guidance": 2.0, **changes}
        assert {key: getattr(spec, key) for key in wanted} == wanted


def test_new_weights_without_temporal_training_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    start(settings("keyframe", trainable="published"))
    assert "set trainable all for new weights" in caplog.text


@pytest.mark.parametrize("name", STAGES)
def test_a_checkpoint_goes_on_as_it_is(name: str, tiny_files: dict[str, Path]) -> None:
    stage = start(settings(name, start=str(tiny_files[name])))
    stored = load_stage(tiny_files[name])
    assert stage.spec == stored.spec
    for key, tensor in stored.state_dict().items():
        assert stage.state_dict()[key].dtype == torch.float32
        assert torch.equal(stage.state_dict()[key], tensor.float())
    assert all(parameter.requires_grad for parameter in stage.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 10}, "has window 14 but this run has 10: set window to 14"),
        ({"speech_encoder": "wavlm"}, "has speech_encoder hubert but this run has wavlm: set speech_encoder to hubert"),
    ],
)
def test_a_checkpoint_of_other_settings(changes: dict[str, Any], message: str, tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=f"keyframe.safetensors {message}"):
        start(settings("keyframe", start=str(tiny_files["keyframe"]), **changes))


def test_a_checkpoint_and_other_data(tiny_files: dict[str, Path]) -> None:
    config = settings("keyframe", start=str(tiny_files["keyframe"]))
    with pytest.raises(
        KeySyncError, match="has speech channels 32 but this run has 768: prepare the data with its hub"
    ):
        starting_stage(config, LATENT_SIZE, 768)
    with pytest.raises(
        KeySyncError, match=r"has crop_scale 2.0 but this run has 1.4: prepare the data with --crop-scale 2"
    ):
        starting_stage(config, LATENT_SIZE, AUDIO_CHANNELS, 1.4)
    with pytest.raises(KeySyncError, match="has latents 8x8 but this run has 16x16: prepare the data at"):
        starting_stage(replace(config, resolution=128), (16, 16), AUDIO_CHANNELS)
    with pytest.raises(
        KeySyncError, match="data has crops of 64x64 pixels but resolution is 128: set resolution to 64"
    ):
        starting_stage(replace(config, resolution=128), LATENT_SIZE, AUDIO_CHANNELS)


def test_the_other_stage_and_other_files_are_refused_by_kind(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    other = tiny_files["interpolation"]
    with pytest.raises(
        KeySyncError, match=r"interpolation.safetensors is a KeySync interpolation stage .*: expected a KeySync k"
    ):
        start(settings("keyframe", start=str(other)))
    for path, kind in ((tiny_files["vae"], "a VAE"), (tiny_files["hubert"] / "model.safetensors", "a HuBERT speech")):
        with pytest.raises(
            KeySyncError, match=f"is {kind} .*: expected a KeySync keyframe stage or Stable Video Diffusion"
        ):
            start(settings("keyframe", start=str(path)))
    save_file({"diffusion_model.out.0.lora_A.weight": torch.ones(1, 2)}, tmp_path / "lora.safetensors")
    with pytest.raises(KeySyncError, match=r"lora.safetensors is a LoRA: start from the checkpoint it was trained on"):
        start(settings("keyframe", start=str(tmp_path / "lora.safetensors")))
    with pytest.raises(KeySyncError, match=r"has neither unet/diffusion_pytorch_model.safetensors nor diffusion_"):
        start(settings("keyframe", start=str(tmp_path)))
    with pytest.raises(KeySyncError, match=r"none.safetensors: no such file"):
        start(settings("keyframe", start=str(tmp_path / "none.safetensors")))


def changed_names(stage: Stage, svd: dict[str, Tensor]) -> set[str]:
    """The names of the tensors that are not the file's."""
    ours = {f"{UNET}{name}": tensor for name, tensor in stage.unet.state_dict().items()}
    return {name for name, tensor in ours.items() if not torch.equal(tensor, svd[name].float())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", STAGES)
def test_svd_in_one_file(name: str, dtype: torch.dtype, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    svd = {key: tensor.to(dtype) for key, tensor in sgm_tensors().items()}
    save_file(svd, tmp_path / "svd.safetensors")
    config = settings(name, start=str(tmp_path / "svd.safetensors"), head_dim=HEAD_DIM, seed=3)
    stage = start(config)
    label, entry = f"{UNET}label_emb.0.0.weight", f"{UNET}input_blocks.0.0.weight"
    fresh = {label} if name == "keyframe" else {label, entry}
    assert changed_names(stage, {**svd, **dict.fromkeys(fresh, torch.zeros(1))}) == fresh
    spec = stage.spec
    assert (spec.unet.model_channels, spec.unet.channel_mult, spec.unet.attention) == (32, (1, 2), (True, False))
    assert (spec.unet.head_dim, spec.unet.context_dim, spec.audio_channels) == (HEAD_DIM, CONTEXT, AUDIO_CHANNELS)
    assert (spec.speech_encoder, spec.window, spec.latent_size) == (config.speech_encoder, 14, LATENT_SIZE)
    assert stage.unet.get_parameter("label_emb.0.0.weight").shape == (4 * 32, CONTEXT)
    assert all(parameter.dtype == torch.float32 for parameter in stage.parameters())
    assert all(parameter.any() for key, parameter in stage.named_parameters() if key != "learned_mask")
    if name == "interpolation":
        assert stage.learned_mask is not None
        assert not stage.learned_mask.any()
        assert stage.unet.get_parameter("input_blocks.0.0.weight").shape == (32, 9, 3, 3)
    (line,) = (record.getMessage() for record in caplog.records if "svd.safetensors" in record.getMessage())
    assert all(key in line for key in fresh | {"conditioner.embedders.2.linear.weight"})
    assert ("model.learned_mask" in line) == (name == "interpolation")
    again = start(config).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in stage.state_dict().items())
    save_stage(stage, tmp_path / "stage.safetensors")
    assert load_stage(tmp_path / "stage.safetensors", expect=name).spec == spec


def changed(tensors: dict[str, Tensor], change: str, name: str) -> dict[str, Tensor]:
    if change == "missing":
        return {key: tensor for key, tensor in tensors.items() if key != name}
    return {**tensors, name: torch.zeros(3) if change == "misshapen" else torch.ones(2)}


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ("missing", f"{UNET}out.2.bias", f"1 tensors missing, first {UNET}out.2.bias"),
        ("misshapen", f"{UNET}out.2.bias", rf"1 tensors misshapen, first {UNET}out.2.bias \(\[3\] instead of \[4\]\)"),
        ("unknown", f"{UNET}out.7.bias", f"1 tensors unknown, first {UNET}out.7.bias"),
        ("unknown", "text_encoder.bias", "unknown tensor text_encoder.bias: expected the tensors"),
    ],
)
def test_every_tensor_of_one_file_is_accounted_for(change: str, name: str, message: str, tmp_path: Path) -> None:
    save_file(changed(sgm_tensors(), change, name), tmp_path / "svd.safetensors")
    with pytest.raises(KeySyncError, match=f"svd.safetensors.* {message}|svd.safetensors: {message}"):
        start(settings("keyframe", start=str(tmp_path / "svd.safetensors"), head_dim=HEAD_DIM))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["out.2.bias", "label_emb.0.2.weight", "input_blocks.1.1.time_pos_embed.0.weight"])
def test_weights_of_one_file_are_finite(name: str, value: float, tmp_path: Path) -> None:
    tensors = sgm_tensors()
    tensors[f"{UNET}{name}"].view(-1)[-1] = value
    save_file(tensors, tmp_path / "svd.safetensors")
    with pytest.raises(KeySyncError) as caught:
        start(settings("keyframe", start=str(tmp_path / "svd.safetensors"), head_dim=HEAD_DIM))
    assert str(caught.value).startswith(
        f"{tmp_path / 'svd.safetensors'}: {UNET}{name} contains numbers that are not finite: the file is damaged"
    )


def test_what_lies_beside_the_network_need_not_be_finite(tmp_path: Path) -> None:
    tensors = sgm_tensors()
    tensors["conditioner.embedders.3.encoder.quant_conv.bias"].fill_(math.nan)
    save_file(tensors, tmp_path / "svd.safetensors")
    stage = start(settings("keyframe", start=str(tmp_path / "svd.safetensors"), head_dim=HEAD_DIM))
    assert all(parameter.isfinite().all() for parameter in stage.parameters())


def test_weights_of_a_folder_are_finite_and_named_as_the_file_does(tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "unet", diffusers_unet())
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_out.bias"][0] = math.nan
    save_file(tensors, tmp_path / "changed")
    shutil.move(tmp_path / "changed", file)
    with pytest.raises(KeySyncError, match=f"{file.name}: conv_out.bias contains numbers that are not finite"):
        start(settings("keyframe", start=str(tmp_path)))


def test_a_head_dim_that_fits_no_width(tmp_path: Path) -> None:
    save_file(sgm_tensors(), tmp_path / "svd.safetensors")
    with pytest.raises(KeySyncError, match=r"svd.safetensors: head dim 64 does not divide the width 32"):
        start(settings("keyframe", start=str(tmp_path / "svd.safetensors"), head_dim=64))


@torch.no_grad()
def test_diffusers_weights_give_diffusers_output(tmp_path: Path) -> None:
    """Each frame's embedding is the time's alone where the first layer of the other path gives nothing."""
    theirs = diffusers_unet()
    stage = start(settings("keyframe", start=str(write_diffusers(tmp_path / "unet", theirs).parent), window=FRAMES))
    assert stage.spec.unet.head_dim == HEAD_DIM
    theirs.add_embedding.linear_1.weight.zero_()
    stage.unet.get_parameter("label_emb.0.0.weight").zero_()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, FRAMES, 8, 8, 16, generator=generator)
    tokens = torch.randn(2, FRAMES, CONTEXT, generator=generator)
    for time in (-1.5, 0.3):
        expected = theirs(x, torch.tensor(time), tokens, torch.randn(2, 3, generator=generator)).sample
        ours = stage.unet(x.flatten(0, 1), torch.full((2 * FRAMES,), time), tokens).unflatten(0, (2, FRAMES))
        assert float(expected.std()) > 0.1
        assert float((ours - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("diffusion_pytorch_model.safetensors", ""),
        ("diffusion_pytorch_model.safetensors", "unet"),
        ("diffusion_pytorch_model.fp16.safetensors", "unet"),
    ],
)
def test_diffusers_folders(name: str, inside: str, tmp_path: Path) -> None:
    unet = diffusers_unet()
    write_diffusers(tmp_path / "svd" / inside, unet, name)
    config = settings("interpolation", head_dim=32)
    stage = start(replace(config, start=str(tmp_path / "svd")))
    assert stage.spec.unet.head_dim == HEAD_DIM  # the folder's own settings go before ours
    assert torch.equal(stage.unet.get_parameter("out.2.weight"), unet.conv_out.weight)
    assert torch.equal(stage.unet.get_parameter("label_emb.0.0.bias"), unet.add_embedding.linear_1.bias)
    assert stage.unet.get_parameter("input_blocks.0.0.weight").shape == (32, 9, 3, 3)
    assert torch.equal(stage.unet.get_parameter("input_blocks.0.0.bias"), unet.conv_in.bias)
    again = start(replace(config, start=str(tmp_path / "svd" / inside / name)))
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in stage.state_dict().items())


def test_diffusers_weights_in_parts(tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "unet", diffusers_unet())
    whole = start(settings("keyframe", start=str(tmp_path))).state_dict()
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    for number in range(2):
        part = dict(list(tensors.items())[number::2])
        save_file(part, folder / f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors")
    parts = start(settings("keyframe", start=str(tmp_path))).state_dict()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
    (folder / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(KeySyncError, match=r"unet has 1 of 2 files diffusion_pytorch_model-"):
        start(settings("keyframe", start=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ("missing", "conv_out.bias", f"1 tensors missing, first {UNET}out.2.bias"),
        ("misshapen", "conv_out.bias", r"1 tensors misshapen, first conv_out.bias \(\[3\] instead of \[4\]\)"),
        ("unknown", "down_blocks.0.gates.0.bias", "1 tensors unknown, first down_blocks.0.gates.0.bias"),
        ("unknown", "time_proj", "1 tensors unknown, first time_proj"),
    ],
)
def test_every_tensor_of_a_folder_is_accounted_for(change: str, name: str, message: str, tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "unet", diffusers_unet())
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file(changed(load_file(file), change, name), tmp_path / "changed")
    shutil.move(tmp_path / "changed", file)
    with pytest.raises(KeySyncError, match=f"{file.name} is not a complete U-Net of Stable Video Diffusion: {message}"):
        start(settings("keyframe", start=str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "expected block_out_channels"),
        ('{"block_out_channels": [32, 64], "num_attention_heads": 2}', "of \\[16, 32\\]"),
    ],
)
def test_settings_beside_the_weights_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "unet", diffusers_unet())
    (folder / "config.json").write_text(text)
    with pytest.raises(KeySyncError, match=f"config.json.*{message}"):
        start(settings("keyframe", start=str(tmp_path)))


def test_adapters_are_not_put_on_weights_that_nobody_trained(tmp_path: Path) -> None:
    save_file(sgm_tensors(), tmp_path / "svd.safetensors")
    with pytest.raises(KeySyncError, match="is a plain Stable Video Diffusion model: trainable lora needs a trained"):
        start(settings("keyframe", start=str(tmp_path / "svd.safetensors"), head_dim=HEAD_DIM, trainable="lora"))
    with pytest.raises(KeySyncError, match="start is empty: trainable lora needs a trained stage"):
        start(settings("keyframe", trainable="lora"))


def test_a_checkpoint_takes_the_mask_that_it_goes_on_with(
    tiny_files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    stage = start(settings("keyframe", start=str(tiny_files["keyframe"]), mask="jaw"))
    assert stage.spec == replace(load_stage(tiny_files["keyframe"]).spec, mask="jaw")
    assert "was trained with mask box: continuing with mask jaw" in caplog.text


def test_the_reference_of_svd_is_ours() -> None:
    """Both concatenate unscaled latents, so the input convolution that keyframes keep means the same."""
    stage = start(settings("keyframe"))
    latents = torch.randn(1, 4, *LATENT_SIZE)
    known = torch.zeros(1, 14, 4, *LATENT_SIZE)
    condition = stage.condition(Windows(torch.zeros(1, 14, 2, AUDIO_CHANNELS), latents, known, known[:, :, :1]))
    assert torch.allclose(condition.reference[:, 3], latents / SCALE_FACTOR)
