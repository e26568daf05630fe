"""KeyFace's files: the published names and shapes both ways, what the metadata says, and the weaker copy's role."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from keysync.errors import KeySyncError
from keysync.network.stage import ALL_STAGES, KEYFACE_STAGES, Stage
from keysync.speech.beats_network import BeatsConfig, BeatsNetwork
from keysync.weights.checkpoint import convert, load_stage, load_weak, save_stage
from keysync.weights.describe import describe
from keysync.weights.stage_format import check, metadata_of, needed_shapes, on_meta, published_names, spec_of

from ..tiny_keyface import tiny_stage

DATA = Path(__file__).parents[1] / "data"
KEYS: dict[str, Any] = json.loads((DATA / "published_keys_keyface.json").read_text())
LIKE: dict[str, Any] = json.loads((DATA / "published_keys.json").read_text())

Shapes = dict[str, tuple[int, ...]]
by_stage = pytest.mark.parametrize("name", list(KEYFACE_STAGES))


def published(name: str) -> Shapes:
    """Names and shapes of a published file, which are written down as what differs from one of KeySync's."""
    row = KEYS[name]
    shapes = {key: shape for key, shape in LIKE[row["like"]].items() if key not in row["without"]} | row["other"]
    return {key: tuple(shape) for key, shape in shapes.items()}


@by_stage
def test_published_names_and_shapes_both_ways(name: str) -> None:
    needed = {key: shape for key, shape in published(name).items() if not key.startswith("first_stage_model")}
    assert needed_shapes(ALL_STAGES[name]) == needed
    assert published_names(on_meta(ALL_STAGES[name])).keys() == needed.keys()


@by_stage
def test_shapes_of_the_published_files_tell_the_published_stage(name: str) -> None:
    shapes = published(name)
    spec = spec_of("published.pt", shapes, {}, expect=name)
    assert spec == ALL_STAGES[name]
    check("published.pt", spec, shapes)
    with pytest.raises(
        KeySyncError, match=r"is a KeyFace .* stage .*: expected a KeySync keyframe or interpolation stage"
    ):
        spec_of("published.pt", shapes, {})


def test_what_the_published_stages_hear() -> None:
    heard = {name: spec.speech_encoders for name, spec in KEYFACE_STAGES.items()}
    assert heard == {"keyface_keyframe": ("wavlm", "beats"), "keyface_interpolation": ("wav2vec2", "beats")}
    assert {spec.audio_channels for spec in KEYFACE_STAGES.values()} == {2 * 768}
    assert [spec.unet.vector_dim for spec in KEYFACE_STAGES.values()] == [512, 0]


def test_the_published_beats() -> None:
    """All names but those of its class head."""
    with torch.device("meta"):
        network = BeatsNetwork(BeatsConfig())
    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert ours == {key: shape for key, shape in KEYS["beats"]["tensors"].items() if not key.startswith("predictor.")}


@by_stage
def test_metadata_comes_back(name: str, tmp_path: Path) -> None:
    stage = tiny_stage(name)
    save_stage(stage, tmp_path / "stage.safetensors")
    assert load_stage(tmp_path / "stage.safetensors", expect=name).spec == stage.spec
    found = describe(tmp_path / "stage.safetensors")
    assert (found.kind, found.problem) == (name, None)
    assert found.stage["speech_encoder"] == stage.spec.speech_encoder
    assert "mask" not in found.stage
    told = metadata_of(stage.spec)
    assert told["modelspec.title"] == f"KeyFace {name.removeprefix('keyface_')} stage"
    scales = {key for key in told if key.endswith("guidance")}
    expected = {"audio_guidance", "identity_guidance"} if name == "keyface_keyframe" else {"autoguidance"}
    assert scales == {f"keysync.{scale}" for scale in expected}


def test_an_emotion_of_another_width_is_read_from_the_shapes(tmp_path: Path) -> None:
    stage = tiny_stage("keyface_keyframe", vector_dim=24)
    save_stage(stage, tmp_path / "stage.safetensors")
    assert load_stage(tmp_path / "stage.safetensors", expect="keyface_keyframe").spec.unet.vector_dim == 24
    tensors = load_file(tmp_path / "stage.safetensors")
    label = "model.diffusion_model.label_emb.0.0.weight"
    tensors[label] = tensors[label][:, 1:].contiguous()
    save_file(tensors, tmp_path / "odd.safetensors", metadata_of(stage.spec))
    with pytest.raises(KeySyncError, match=r"label_emb\.0\.0\.weight is misshapen"):
        load_stage(tmp_path / "odd.safetensors", expect="keyface_keyframe")


def test_the_weaker_copy_says_so_once_it_is_converted(tmp_path: Path) -> None:
    good, bad = tiny_stage("keyface_interpolation"), tiny_stage("keyface_interpolation", seed=1)
    save_stage(bad, tmp_path / "bad.safetensors")
    convert(tmp_path / "bad.safetensors", tmp_path / "weak.safetensors", weak=True)
    weak = load_weak(tmp_path / "weak.safetensors", good)
    assert weak.spec.weak
    assert weak.audio_projection is good.audio_projection
    assert torch.equal(weak.state_dict()["learned_mask"], bad.state_dict()["learned_mask"])
    assert describe(tmp_path / "weak.safetensors").stage["weak"] is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_channels": 64}, r"has other sizes than the keyface_interpolation model that it guides"),
        ({"num_res_blocks": 2}, r"has other sizes than the keyface_interpolation model that it guides"),
    ],
)
def test_a_weaker_copy_of_other_sizes(changes: dict[str, int], message: str, tmp_path: Path) -> None:
    save_stage(tiny_stage("keyface_interpolation", **changes), tmp_path / "bad.safetensors")
    with pytest.raises(KeySyncError, match=message):
        load_weak(tmp_path / "bad.safetensors", tiny_stage("keyface_interpolation"))


def test_a_stage_of_keysync_guides_no_keyface(tmp_path: Path) -> None:
    stage = tiny_stage("keyface_interpolation")
    spec = replace(stage.spec, name="interpolation", speech_encoder="wavlm")
    save_stage(Stage(spec), tmp_path / "other.safetensors")
    with pytest.raises(
        KeySyncError, match=r"is a KeySync interpolation stage .*: expected a KeyFace interpolation stage"
    ):
        load_weak(tmp_path / "other.safetensors", stage)
