"""Checkpoints: every format in, safetensors out, widths from shapes, and one clear line for everything else."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.stage import STAGES, Stage, StageSpec
from keysync.weights.checkpoint import convert, load_stage, save_stage
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors
from keysync.weights.stage_format import (
    EMBEDDED,
    check,
    embed,
    metadata_of,
    needed_shapes,
    on_meta,
    published_names,
    spec_of,
    unexpected,
    with_embedded,
)

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "published_keys.json").read_text())
UNET = "model.diffusion_model."
PROJECTION = "conditioner.embedders.2.linear."


def tiny(name: str, **changes: Any) -> Stage:
    """A small stage of random weights; none of its sizes is a published one."""
    torch.manual_seed(0)
    small = {"model_channels": 32, "channel_mult": (1, 2), "attention": (True, False), "num_res_blocks": 1}
    unet = replace(STAGES[name].unet, **{**small, "head_dim": 16, "context_dim": 24, **changes})
    spec = StageSpec(name, unet, 20, latent_size=(8, 16), window=6, speech_encoder="wavlm", crop_scale=1.4)
    return Stage(spec).eval()


@pytest.fixture(scope="module")
def keyframe() -> Stage:
    return tiny("keyframe")


@pytest.fixture(scope="module")
def interpolation() -> Stage:
    return tiny("interpolation")


@pytest.fixture
def weights(keyframe: Stage, tmp_path: Path) -> dict[str, Tensor]:
    """A keyframe stage in published names."""
    save_stage(keyframe, tmp_path / "source.safetensors")
    return load_file(tmp_path / "source.safetensors")


def assert_same(one: Stage, other: Stage) -> None:
    theirs = other.state_dict()
    assert one.state_dict().keys() == theirs.keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def error_of(call: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(KeySyncError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names


@pytest.mark.parametrize("stage", list(PUBLISHED))
def test_published_names_and_shapes_both_ways(stage: str) -> None:
    published = {
        name: tuple(shape) for name, shape in PUBLISHED[stage].items() if not name.startswith("first_stage_model")
    }
    assert needed_shapes(STAGES[stage]) == published
    names = published_names(on_meta(STAGES[stage]))
    assert names.keys() == published.keys()
    back = {}
    for name in published:
        ours, theirs = next(pair for pair in STAGES[stage].row.keys.items() if name.startswith(pair[1]))
        back[name] = ours + name.removeprefix(theirs)
    assert back == names


@pytest.mark.parametrize("stage", list(PUBLISHED))
def test_shapes_of_the_published_files_tell_the_published_stage(stage: str) -> None:
    shapes = {name: tuple(shape) for name, shape in PUBLISHED[stage].items()}
    spec = spec_of("published.pt", shapes, {})
    assert spec == STAGES[stage]
    check("published.pt", spec, shapes)


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_mult": (1,), "attention": (True,)},
        {"channel_mult": (2, 1, 4), "attention": (False, True, True), "num_res_blocks": 2},
        {"channel_mult": (1, 2), "attention": (False, False), "transformer_depth": 2},
        {"model_channels": 64, "channel_mult": (1, 1, 1), "attention": (True, True, False), "num_res_blocks": 3},
    ],
)
def test_any_widths(changes: dict[str, Any], tmp_path: Path) -> None:
    stage = tiny("interpolation", **changes)
    path = tmp_path / "stage.safetensors"
    save_stage(stage, path)
    loaded = load_stage(path)
    assert loaded.spec == stage.spec
    assert_same(loaded, stage)


# Formats


@pytest.mark.parametrize("name", ["keyframe", "interpolation"])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_save_then_load(name: str, dtype: torch.dtype | None, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue(name)
    path = tmp_path / "stage.safetensors"
    save_stage(stage, path, dtype=dtype, extra_metadata={"keysync.untrained": "true"})
    loaded = load_stage(path, expect=name)
    assert loaded.spec == stage.spec
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {dtype or torch.float32}
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    assert not loaded.training
    for key, tensor in stage.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor.to(dtype or torch.float32)), key
    assert next(load_stage(path, dtype=torch.float64).parameters()).dtype == torch.float64


def test_metadata(keyframe: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(keyframe, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata == {
        "keysync.format": "1",
        "keysync.stage": "keyframe",
        "keysync.head_dim": "16",
        "keysync.latent_size": "8x16",
        "keysync.window": "6",
        "keysync.speech_encoder": "wavlm",
        "keysync.mask": "box",
        "keysync.crop_scale": "1.4",
        "keysync.audio_guidance": "5.0",
        "keysync.identity_guidance": "2.0",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "keysync-keyframe",
        "modelspec.implementation": "https://github.com/keysync-comfyui/keysync",
        "modelspec.title": "KeySync keyframe stage",
        "modelspec.resolution": "128x64",
    }


@pytest.mark.parametrize("key", ["crop_scale", "audio_guidance", "identity_guidance"])
def test_any_number_is_read_again_to_the_bit(key: str, keyframe: Stage, tmp_path: Path) -> None:
    changed: dict[str, Any] = {key: 4 / 3}
    metadata = metadata_of(replace(keyframe.spec, **changed))
    save_stage(keyframe, tmp_path / "stage.safetensors", extra_metadata=metadata)
    assert getattr(load_stage(tmp_path / "stage.safetensors").spec, key) == 4 / 3


def test_a_file_that_names_no_guidance_is_guided_as_published(keyframe: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(keyframe, path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if "guidance" not in key}
    save_file(tensors, path, metadata)
    spec = load_stage(path).spec
    assert (spec.audio_guidance, spec.identity_guidance) == (5.0, 2.0)


def test_every_format_reads_the_same(keyframe: Stage, weights: dict[str, Tensor], tmp_path: Path) -> None:
    noise = {"loss_fn.lpips.weight": torch.zeros(1), "first_stage_model.encoder.conv_in.weight": torch.zeros(2, 3)}
    wrapped = {f"_forward_module.{name}": tensor for name, tensor in {**weights, **noise}.items()}
    deepspeed = {"module": wrapped, "optimizer": {"step": torch.zeros(1)}, "global_step": 3}
    contents: dict[str, Any] = {
        "wrapped.pt": deepspeed,
        "bare.pt": {"module": weights},
        "lightning.ckpt": {"state_dict": {**weights, "conditioner.embedders.0.encoder.x": torch.zeros(1)}, "epoch": 1},
        "flat.bin": {**weights, "model_ema.decay": torch.zeros(1), "step": 3},
        "flat.pth": weights,
    }
    for name, content in contents.items():
        for zipped in (True, False):
            torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
            loaded = load_stage(tmp_path / name, expect="keyframe", head_dim=16, latent_size=(8, 16))
            assert_same(loaded, keyframe)
            # What no pickle tells is the published values.
            assert (loaded.spec.window, loaded.spec.speech_encoder) == (14, "hubert")


def test_the_learned_mask_tells_the_latent_size(interpolation: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.bin"
    save_stage(interpolation, tmp_path / "source.safetensors")
    torch.save(load_file(tmp_path / "source.safetensors"), path)
    loaded = load_stage(path, head_dim=16)
    assert loaded.spec.latent_size == (8, 16)
    assert loaded.spec.speech_encoder == "wavlm"
    message = error_of(load_stage, path, head_dim=16, latent_size=(8, 8))
    assert message.endswith("its latent size cannot be 8x8: expected 8x16, the size of its learned mask")


def test_the_weights_outlive_their_file(keyframe: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(keyframe, path)
    loaded = load_stage(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert_same(loaded, keyframe)


def test_convert(keyframe: Stage, weights: dict[str, Tensor], tmp_path: Path) -> None:
    source, target = tmp_path / "kf.pt", tmp_path / "kf.safetensors"
    decoder = {"first_stage_model.decoder.conv_in.weight": torch.ones(2, 2)}
    dropped = {"first_stage_model.encoder.conv_in.weight": torch.ones(2, 2), "loss_fn.x": torch.ones(1)}
    torch.save({"module": {**weights, **decoder, **dropped}}, source)
    convert(source, target, head_dim=16, latent_size=(8, 16))
    loaded = load_stage(target)
    assert_same(loaded, keyframe)
    assert (loaded.spec.unet.head_dim, loaded.spec.latent_size) == (16, (8, 16))
    tensors, _ = read_tensors(target)
    assert tensors.keys() == weights.keys() | decoder.keys()
    again = tmp_path / "half.safetensors"
    convert(target, again, dtype=torch.float16, audio_guidance=3.0, identity_guidance=1.5)
    assert load_stage(again).spec == replace(loaded.spec, audio_guidance=3.0, identity_guidance=1.5)
    assert {tensor.dtype for tensor in load_file(again).values()} == {torch.float16}
    assert error_of(convert, target, tmp_path / "wrong.safetensors", identity_guidance=0.5) == (
        "the identity guidance of the keyframe model is 0.5: expected a number from 1 to 20"
    )
    assert "is both source and target" in error_of(convert, target, target)
    assert "head dim 64 does not divide the width 32" in error_of(convert, source, tmp_path / "wrong.safetensors")
    assert not (tmp_path / "wrong.safetensors").exists()


# What cannot be written


def test_nothing_half_written_stays(keyframe: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stage.safetensors"
    path.write_text("the file before")

    def full(tensors: object, temporary: Path, metadata: object) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keysync.weights.files.save_file", full)
    message = error_of(save_stage, keyframe, path)
    assert message == f"{path} cannot be written: [Errno 28] No space left on device"
    assert [file.name for file in tmp_path.iterdir()] == ["stage.safetensors"]
    assert path.read_text() == "the file before"


def test_places_that_cannot_be_written(keyframe: Stage, tmp_path: Path) -> None:
    assert "stage.pt has an unsupported file extension: weights are written as .safetensors" in error_of(
        save_stage, keyframe, tmp_path / "stage.pt"
    )
    nowhere = tmp_path / "nowhere" / "stage.safetensors"
    assert "is in a folder that does not exist" in error_of(save_stage, keyframe, nowhere)
    (tmp_path / "folder.safetensors").mkdir()
    assert "is a folder" in error_of(save_stage, keyframe, tmp_path / "folder.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="permissions of another kind on Windows")
def test_a_written_file_is_as_readable_as_any_other(keyframe: Stage, tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    save_stage(keyframe, tmp_path / "stage.safetensors")
    assert (tmp_path / "stage.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


# What cannot be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.safetensors", b"", "is empty: copy or download it again"),
        ("empty.pt", b"", "is empty: copy or download it again"),
        ("text.safetensors", b"no weights at all", "is truncated or not a safetensors file"),
        ("text.pt", b"no weights at all", "is truncated or not a PyTorch weight file"),
        ("text.ckpt", b"PK\x03\x04 no archive", "is truncated or not a PyTorch weight file"),
        (
            "weights.gguf",
            b"GGUF",
            "has an unsupported file extension: expected one of .safetensors, .pt, .pth, .ckpt, .bin",
        ),
        ("weights", b"GGUF", "has an unsupported file extension"),
    ],
)
def test_files_that_hold_no_weights(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert error_of(load_stage, path).startswith(f"{path} {message}")


def test_nothing_there(tmp_path: Path) -> None:
    path = tmp_path / "stage.pt"
    assert error_of(load_stage, path) == f"{path}: no such file: expected model weights"
    assert error_of(load_stage, tmp_path) == f"{tmp_path} is a folder: expected a weight file"
    for content in ([1, 2], {"module": {"step": 3}}, {}):
        torch.save(content, path)
        assert error_of(load_stage, path) == f"{path} contains no tensors: expected model weights"


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_truncated(share: float, weights: dict[str, Tensor], tmp_path: Path) -> None:
    for name, zipped in (("zipped.pt", True), ("legacy.pt", False), ("cut.safetensors", None)):
        path = tmp_path / name
        if zipped is None:
            save_file(weights, path)
        else:
            torch.save({"module": weights}, path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert error_of(load_stage, path).startswith(f"{path} is truncated or not a ")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_code(
    zipped: bool, protocol: int, weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content, imported in (
        (Evil(), f"{os.mkdir.__module__}.mkdir"),
        ({"module": weights, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
    ):
        path = tmp_path / "evil.pt"
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        message = error_of(load_stage, path)
        assert message.startswith(
            f"{path} is refused: its pickle imports {imported}, and code from a weight file is never run"
        )
    assert not (tmp_path / "ran").exists()


# What is another file


def test_the_other_stage(keyframe: Stage, interpolation: Stage, tmp_path: Path) -> None:
    one, two = tmp_path / "kf.safetensors", tmp_path / "ip.safetensors"
    save_stage(keyframe, one)
    save_stage(interpolation, two)
    assert error_of(load_stage, one, expect="interpolation") == (
        f"{one} is a KeySync keyframe stage (8 input channels): expected a KeySync interpolation stage"
    )
    assert error_of(load_stage, two, expect="keyframe") == (
        f"{two} is a KeySync interpolation stage (9 input channels and a learned mask): "
        "expected a KeySync keyframe stage"
    )


def assert_no_stage(path: Path, words: str) -> None:
    message = error_of(load_stage, path, expect="keyframe")
    assert message.startswith(f"{path} is {words}")
    assert message.endswith(": expected a KeySync keyframe stage")
    assert error_of(load_stage, path).endswith(": expected a KeySync keyframe or interpolation stage")
    assert words in str(describe(path))


def test_plain_svd(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "svd.safetensors"
    plain = {name: tensor for name, tensor in weights.items() if not name.startswith(PROJECTION)}
    save_file({**plain, f"{UNET}label_emb.0.0.weight": torch.zeros(128, 768)}, path)
    sign = "label_emb has 768 input channels and there is no conditioner.embedders.2.linear"
    assert_no_stage(path, f"a plain Stable Video Diffusion model ({sign})")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("conv_in.weight", "add_embedding.linear_1.weight"),
            "a plain Stable Video Diffusion model (U-Net in diffusers",
        ),
        (("encoder.conv_in.weight", "encoder.down_blocks.0.x"), "a VAE (encoder in diffusers layout)"),
        (
            ("first_stage_model.decoder.conv_in.weight", "first_stage_model.decoder.mid.block_1.time_stack.x"),
            "a VAE (decoder in sgm layout, temporal decoder)",
        ),
        (
            ("encoder.conv_in.bias", "decoder.conv_in.bias"),
            "a VAE (encoder and decoder in sgm layout, decoder for single",
        ),
        (
            ("hubert.feature_extractor.conv_layers.0.conv.weight", "hubert.encoder.layers.0.attention.q_proj.weight"),
            "a HuBERT speech encoder (transformers layout)",
        ),
        (
            ("feature_extractor.conv_layers.0.0.weight", "encoder.layers.0.self_attn.q_proj.weight"),
            "a HuBERT speech encoder (fairseq layout)",
        ),
        (
            ("feature_extractor.conv_layers.0.conv.weight", "encoder.layers.0.attention.gru_rel_pos_linear.weight"),
            "a WavLM speech encoder (transformers layout)",
        ),
        (
            ("feature_extractor.conv_layers.0.0.weight", "encoder.layers.0.self_attn.grep_linear.bias"),
            "a WavLM speech encoder (Microsoft's layout)",
        ),
        (("wav2vec2.feature_extractor.conv_layers.0.conv.weight",), "a wav2vec 2.0 speech encoder"),
        (("b.weight", "a.weight"), "an unknown kind of file (first tensor a.weight)"),
    ],
)
def test_other_kinds_of_file(names: tuple[str, ...], words: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: torch.zeros(1) for name in names}, path)
    assert_no_stage(path, words)


# What does not fit


@pytest.mark.parametrize(
    "name",
    [
        f"{UNET}input_blocks.0.0.weight",
        f"{UNET}input_blocks.0.0.bias",
        f"{UNET}time_embed.0.weight",
        f"{UNET}input_blocks.1.0.out_layers.0.weight",
        f"{UNET}input_blocks.2.0.op.weight",
        f"{UNET}input_blocks.3.0.in_layers.2.bias",
        f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        f"{UNET}out.2.weight",
        f"{PROJECTION}weight",
    ],
)
def test_one_missing_or_misshapen_tensor_is_named(name: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_file({key: tensor for key, tensor in weights.items() if key != name}, path)
    assert error_of(load_stage, path) == f"{path} is not a complete keyframe stage: {name} is missing"
    save_file({**weights, name: torch.zeros(77)}, path)
    assert error_of(load_stage, path).startswith(
        f"{path} does not fit a keyframe stage: {name} is misshapen ([77], expected ["
    )


def test_many_missing_tensors_are_counted(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if "middle_block" not in name}, path)
    count = sum("middle_block" in name for name in weights)
    found = re.fullmatch(
        rf"(.*) is not a complete keyframe stage: {UNET}middle_block\S+ and (\d+) more tensors are missing",
        error_of(load_stage, path),
    )
    assert found
    assert (found[1], int(found[2])) == (str(path), count - 1)


def test_no_projection_or_no_mask(weights: dict[str, Tensor], interpolation: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if not name.startswith(PROJECTION)}, path)
    assert f"is not a complete keyframe stage: {PROJECTION}" in error_of(load_stage, path)
    save_stage(interpolation, path)
    tensors = load_file(path)
    del tensors["model.learned_mask"]
    save_file(tensors, path)
    assert "is not a complete interpolation stage: model.learned_mask is missing" in error_of(load_stage, path)


def test_another_network(weights: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "stage.safetensors"
    save_file({**weights, f"{UNET}adapter.weight": torch.zeros(1)}, path)
    assert error_of(load_stage, path) == (f"{path} does not fit a keyframe stage: {UNET}adapter.weight is unknown")
    save_file({**weights, "stray": torch.zeros(1)}, path)
    load_stage(path, head_dim=16)
    assert "stray is unknown and ignored" in caplog.text
    narrow = {**weights, f"{UNET}input_blocks.0.0.weight": torch.zeros(40, 8, 3, 3)}
    for name in (f"{UNET}input_blocks.0.0.bias", f"{UNET}out.0.weight", f"{UNET}out.0.bias"):
        narrow[name] = torch.zeros(40)
    save_file(narrow, path)
    assert "is 40 channels wide: expected a multiple of 32" in error_of(load_stage, path)
    save_file({name: tensor.int() for name, tensor in weights.items()}, path)
    assert "has dtype torch.int32: expected floating-point weights" in error_of(load_stage, path, head_dim=16)


def test_a_head_dim_that_does_not_fit(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "stage.pt"
    torch.save({"module": weights}, path)
    assert error_of(load_stage, path) == (
        f"{path}: head dim 64 does not divide the width 32: convert the file with the head dim that it was trained with"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("latent_size", "big", "its metadata keysync.latent_size is 'big': expected HxW, such as 64x64, up to 512x512"),
        ("head_dim", "-1", "its metadata keysync.head_dim is '-1': expected a positive integer"),
        ("window", "", "its metadata keysync.window is '': expected an integer from 1 to 1024"),
        ("window", "1025", "its metadata keysync.window is '1025': expected an integer from 1 to 1024"),
        ("latent_size", "64x4096", "is '64x4096': expected HxW, such as 64x64, up to 512x512"),
        ("mask", "a mask\nof two lines", r"keysync.mask is 'a mask\nof two lines': expected a name, such as box"),
        ("speech_encoder", "", "its metadata keysync.speech_encoder is '': expected a name, such as hubert"),
        ("crop_scale", "wide", "its metadata keysync.crop_scale is 'wide': expected a number from 1 to 9"),
        ("crop_scale", "0.5", "its metadata keysync.crop_scale is '0.5': expected a number from 1 to 9"),
        ("crop_scale", "10", "its metadata keysync.crop_scale is '10': expected a number from 1 to 9"),
        ("audio_guidance", "21", "its metadata keysync.audio_guidance is '21': expected a number from 1 to 20"),
        ("identity_guidance", "", "its metadata keysync.identity_guidance is '': expected a number from 1 to 20"),
        ("format", "2", "has a newer format than this version of KeySync supports: update KeySync"),
    ],
)
def test_bad_metadata(key: str, value: str, message: str, keyframe: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(keyframe, path, extra_metadata={f"keysync.{key}": value})
    assert error_of(load_stage, path).endswith(message)


# What it says of a file


def test_metadata_among_the_tensors(keyframe: Stage, weights: dict[str, Tensor]) -> None:
    """As ComfyUI's model save needs it: what no shape tells comes back, and the file's own metadata goes first."""
    tensors = {**weights, EMBEDDED: embed(keyframe.spec), "edm_vpred.sigma_max": torch.tensor(700.0)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert spec_of("saved", shapes, with_embedded("saved", tensors, {})) == keyframe.spec
    own = with_embedded("saved", tensors, {"keysync.window": "9", "prompt": "{}"})
    assert spec_of("saved", shapes, own) == replace(keyframe.spec, window=9)
    assert own["prompt"] == "{}"
    assert with_embedded("saved", weights, {"prompt": "{}"}) == {"prompt": "{}"}
    assert unexpected(weights, tensors) == []


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3),
        torch.zeros(1, 2, dtype=torch.uint8),
        torch.zeros(0, dtype=torch.uint8),
        torch.full((3,), 255, dtype=torch.uint8),
        torch.tensor(list(b"[1]"), dtype=torch.uint8),
        torch.tensor(list(b'{"keysync.window": 9}'), dtype=torch.uint8),
    ],
)
def test_a_tensor_that_is_no_metadata(tensor: Tensor) -> None:
    with pytest.raises(KeySyncError, match=r"^saved: the tensor keysync\.metadata is not KeySync's metadata: save the"):
        with_embedded("saved", {EMBEDDED: tensor}, {})


def test_describe_a_stage(keyframe: Stage, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(keyframe, path, dtype=torch.float16, extra_metadata={"keysync.untrained": "true"})
    found = describe(path)
    assert (found.kind, found.untrained, found.problem) == ("keyframe", True, None)
    assert found.tensors == len(keyframe.state_dict())
    assert found.parameters == sum(parameter.numel() for parameter in keyframe.parameters())
    assert found.dtypes == {"float16": found.tensors}
    assert found.stage["head_dim"] == 16
    assert found.stage["latent_size"] == (8, 16)
    text = str(found)
    for line in ("a KeySync keyframe stage", "head dim: 16", "latent size: 8, 16", "none: untrained weights"):
        assert line in text
    assert json.loads(json.dumps(found.to_dict()))["kind"] == "keyframe"


def test_describe_what_cannot_be_loaded(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "stage.pt"
    torch.save({"module": {**weights, "stray": torch.zeros(1)}}, path)
    found = describe(path)
    assert found.kind == "keyframe"
    assert "convert the file with the head dim" in str(found.problem)
    assert "problem: " in str(found)
    assert found.stage["channel_mult"] == (1, 2)
    target = tmp_path / "stage.safetensors"
    save_file({**weights, "stray": torch.zeros(1)}, target, {"keysync.head_dim": "16"})
    assert describe(target).unexpected == ("stray",)
    assert not describe(target).untrained


def test_metadata_among_the_tensors_is_read(keyframe: Stage, weights: dict[str, Tensor], tmp_path: Path) -> None:
    """ComfyUI's Save Model writes no metadata of ours, so it travels as a tensor."""
    saved = tmp_path / "saved.safetensors"
    save_file({**weights, EMBEDDED: embed(keyframe.spec)}, saved)
    assert load_stage(saved).spec == keyframe.spec
    assert describe(saved).stage["speech_encoder"] == "wavlm"
    convert(saved, tmp_path / "converted.safetensors")
    assert load_stage(tmp_path / "converted.safetensors").spec == keyframe.spec
