"""SAM 2: both layouts of its weights, and tracking both ways with memory that is flat in the clip's length."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from keysync.errors import KeySyncError, install_line
from keysync.face import sam2
from keysync.face.sam2 import Prompt, load_sam2, track_occluder
from keysync.face.sam2_weights import POINTS, SIZES, TWINS, official_names, published_settings

from ..tiny_sam2 import SIZE, tiny_sam2, write_tiny_sam2

HEIGHT, WIDTH, COUNT = 40, 50, 36
CLICK = Prompt(18, ((20.0, 10.0), (40.0, 30.0)), (1, 0))

# Every tensor of SAM 2.1's own layout, for a backbone of {depth} blocks; a final * is a weight and a bias.
OFFICIAL_NAMES = """
image_encoder.trunk.{pos_embed,pos_embed_window}
image_encoder.trunk.patch_embed.proj*
image_encoder.trunk.blocks.{depth}.{norm1,norm2,attn.qkv,attn.proj,mlp.layers.0,mlp.layers.1}*
image_encoder.trunk.blocks.{starts}.proj*
image_encoder.neck.convs.{0,1,2,3}.conv*
memory_attention.layers.{0,1,2,3}.{self_attn,cross_attn_image}.{q_proj,k_proj,v_proj,out_proj}*
memory_attention.layers.{0,1,2,3}.{linear1,linear2,norm1,norm2,norm3}*
memory_attention.norm*
memory_encoder.mask_downsampler.encoder.{0,1,3,4,6,7,9,10,12}*
memory_encoder.{pix_feat_proj,out_proj}*
memory_encoder.fuser.layers.{0,1}.gamma
memory_encoder.fuser.layers.{0,1}.{dwconv,norm,pwconv1,pwconv2}*
mask_downsample*
obj_ptr_proj.layers.{0,1,2}*
obj_ptr_tpos_proj*
{no_mem_embed,no_mem_pos_enc,maskmem_tpos_enc,no_obj_ptr,no_obj_embed_spatial}
sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
sam_prompt_encoder.point_embeddings.{0,1,2,3}.weight
sam_prompt_encoder.{not_a_point_embed,no_mask_embed}.weight
sam_prompt_encoder.mask_downscaling.{0,1,3,4,6}*
sam_mask_decoder.{iou_token,mask_tokens,obj_score_token}.weight
sam_mask_decoder.output_upscaling.{0,1,3}*
sam_mask_decoder.{conv_s0,conv_s1}*
sam_mask_decoder.output_hypernetworks_mlps.{0,1,2,3}.layers.{0,1,2}*
sam_mask_decoder.{iou_prediction_head,pred_obj_score_head}.layers.{0,1,2}*
sam_mask_decoder.transformer.layers.{0,1}.{self_attn,cross_attn_token_to_image,cross_attn_image_to_token}.{q_proj,k_proj,v_proj,out_proj}*
sam_mask_decoder.transformer.layers.{0,1}.{norm1,norm2,norm3,norm4,mlp.layers.0,mlp.layers.1}*
sam_mask_decoder.transformer.final_attn_token_to_image.{q_proj,k_proj,v_proj,out_proj}*
sam_mask_decoder.transformer.norm_final_attn*
"""
NEW_IN_2_1 = {"no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias"}
# Parameters that the published models have, by width and depth.
PUBLISHED = {(96, 12): 38_962_498, (96, 16): 46_060_354, (112, 24): 80_850_178, (144, 48): 224_446_642}


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2") / "tiny.safetensors")


@pytest.fixture(scope="session")
def model(tiny_file: Path) -> Any:
    return load_sam2(tiny_file)


@pytest.fixture(scope="session")
def clip() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return F.interpolate(torch.rand(COUNT, 3, 4, 5, generator=generator), (HEIGHT, WIDTH), mode="bilinear").movedim(
        1, -1
    )


def official_tensors(model: Any) -> dict[str, Tensor]:
    """The weights of a model in the layout of SAM 2's authors."""
    tensors = {}
    for name, value in model.state_dict().items():
        names = official_names(name)
        parts = value.split(1) if len(names) > 1 else [value]
        tensors.update({official: part.clone() for official, part in zip(names, parts, strict=True)})
    return tensors


def listed(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def expand(pattern: str) -> list[str]:
    """`a.{b,c}*` is a.b.weight, a.b.bias, a.c.weight, a.c.bias."""
    parts = [part.split(",") for part in re.split(r"[{}]", pattern.replace("*", ".{weight,bias}"))]
    return ["".join(choice) for choice in itertools.product(*parts)]


# Weights


@pytest.mark.parametrize("newer", [True, False], ids=["2.1", "2.0"])
@pytest.mark.parametrize("size", SIZES, ids=["tiny", "small", "base+", "large"])
def test_names_of_published_sizes(size: tuple[int, int], newer: bool) -> None:
    config = transformers.Sam2VideoConfig.from_dict(published_settings(*size, newer=newer))
    with torch.device("meta"):
        model = transformers.Sam2VideoModel(config)
    starts = itertools.accumulate(SIZES[size].blocks[:3])
    patterns = OFFICIAL_NAMES.replace("{depth}", listed(range(size[1])))
    patterns = patterns.replace("{starts}", listed(starts))
    wanted = {name for pattern in patterns.split() for name in expand(pattern)} - (set() if newer else NEW_IN_2_1)
    names = [name for theirs in model.state_dict() for name in official_names(theirs)]
    assert set(names) == wanted
    assert len(names) == len(wanted) + 1  # the positional matrix, twice in transformers
    if newer:
        assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[size]


@pytest.mark.parametrize(
    ("theirs", "official"),
    [
        ("vision_encoder.neck.convs.2.weight", "image_encoder.neck.convs.2.conv.weight"),
        ("vision_encoder.backbone.blocks.1.mlp.proj_out.bias", "image_encoder.trunk.blocks.1.mlp.layers.1.bias"),
        ("prompt_encoder.mask_embed.layer_norm2.bias", "sam_prompt_encoder.mask_downscaling.4.bias"),
        ("mask_decoder.upscale_conv2.weight", "sam_mask_decoder.output_upscaling.3.weight"),
        ("mask_decoder.iou_prediction_head.layers.0.weight", "sam_mask_decoder.iou_prediction_head.layers.1.weight"),
        (
            "mask_decoder.transformer.layers.1.mlp.proj_in.bias",
            "sam_mask_decoder.transformer.layers.1.mlp.layers.0.bias",
        ),
        ("memory_encoder.mask_downsampler.layers.3.layer_norm.bias", "memory_encoder.mask_downsampler.encoder.10.bias"),
        ("memory_encoder.memory_fuser.layers.1.scale", "memory_encoder.fuser.layers.1.gamma"),
        ("memory_encoder.projection.bias", "memory_encoder.out_proj.bias"),
        ("object_pointer_proj.proj_out.weight", "obj_ptr_proj.layers.2.weight"),
    ],
)
def test_one_name(theirs: str, official: str) -> None:
    assert official_names(theirs) == [official]


@pytest.mark.parametrize("name", ["sam2.safetensors", "sam2.pt", "half.safetensors"])
def test_official_layout_is_the_same_model(tmp_path: Path, tiny_file: Path, model: Any, name: str) -> None:
    tensors = official_tensors(model)
    if name.startswith("half"):
        tensors = {key: value.half() for key, value in tensors.items()}
    if name.endswith(".pt"):
        torch.save({"model": tensors}, tmp_path / name)
    else:
        save_file(tensors, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    loaded = load_sam2(tmp_path / name)
    assert not loaded.training
    for key, value in model.state_dict().items():
        expected = value.half().float() if name.startswith("half") else value
        assert loaded.state_dict()[key].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[key], expected), key


def test_loaded_model_computes_what_it_was_made_from(model: Any, clip: Tensor) -> None:
    source = tiny_sam2()
    ours, theirs = (dict(track_occluder(each, clip[:4], Prompt(0, ((20.0, 10.0),), (1,)))) for each in (model, source))
    assert all(torch.equal(ours[frame], theirs[frame]) for frame in range(4))


def test_positional_matrix_stored_once(tmp_path: Path, tiny_file: Path, model: Any) -> None:
    tensors = load_file(tiny_file)
    matrix = tensors.pop(TWINS[1])
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    assert torch.equal(load_sam2(tmp_path / "model.safetensors").state_dict()[TWINS[1]], matrix)


def test_published_size_needs_no_config(tmp_path: Path) -> None:
    settings = published_settings(96, 12)
    model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig.from_dict(settings)).half()
    torch.save({"model": official_tensors(model)}, tmp_path / "sam2.1_hiera_tiny.pt")
    loaded = load_sam2(tmp_path / "sam2.1_hiera_tiny.pt")
    assert loaded.config.vision_config.backbone_config.global_attention_blocks == [5, 7, 9]
    assert loaded.config.image_size == 1024
    assert torch.equal(loaded.state_dict()[POINTS], model.state_dict()[POINTS].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("no_memory_embedding"), "lacks no_memory_embedding: expected a complete SAM 2"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "also contains more: expected only a SAM 2 model"),
        (
            lambda tensors: tensors.update(no_object_pointer=torch.zeros(1, 7)),
            r"no_object_pointer has shape \(1, 7\): expected \(1, 128\); put the config.json",
        ),
        (lambda tensors: tensors.pop("vision_encoder.backbone.pos_embed"), "expected a SAM 2 model"),
    ],
)
def test_wrong_tensors(tmp_path: Path, tiny_file: Path, model: Any, change: Any, message: str) -> None:
    tensors = load_file(tiny_file)
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", {"config": json.dumps(model.config.to_dict(), default=str)})
    with pytest.raises(KeySyncError, match=message):
        load_sam2(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "is 8 channels wide with 5 blocks, which is not a published size of SAM 2: put the config.json"),
        ("{", "is not JSON"),
        ("[]", "contains no settings: expected a JSON object"),
        ('{"vision_config": {"backbone_config": {"model_type": "none"}}}', "are invalid .*: put the config.json"),
    ],
)
def test_wrong_config(tmp_path: Path, tiny_file: Path, config: str | None, message: str) -> None:
    save_file(load_file(tiny_file), tmp_path / "model.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(KeySyncError, match=message):
        load_sam2(tmp_path / "model.safetensors")


def test_another_kind_of_file(tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=r"is a KeySync keyframe stage .*: expected a SAM 2 model") as caught:
        load_sam2(tiny_files["keyframe"])
    assert caught.value.about == "sam2"


def test_without_transformers(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("transformers>=4.57"))) as caught:
        load_sam2(tiny_file)
    assert caught.value.about is None  # no other file helps


def test_old_transformers(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its lazy import may have put another module object in the place of the one above.
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "4.56.2")
    with pytest.raises(
        KeySyncError, match=r"transformers 4\.56\.2 is too old .*: expected 4\.57 or newer; .* -m pip install"
    ):
        load_sam2(tiny_file)


def test_the_file_may_go(tmp_path: Path, tiny_file: Path, model: Any) -> None:
    copy = shutil.copy(tiny_file, tmp_path / "model.safetensors")
    loaded = load_sam2(copy)
    Path(copy).write_bytes(b"\0" * Path(copy).stat().st_size)
    assert torch.equal(loaded.state_dict()[POINTS], model.state_dict()[POINTS])


# Tracking


def unpruned(model: Any, clip: Tensor, prompt: Prompt, *, reverse: bool) -> dict[int, Tensor]:
    """The masks by transformers' own numbering and direction, nothing forgotten."""
    session = sam2._session(model)
    session.obj_id_to_idx(1)
    session.add_point_inputs(0, prompt.frame, sam2._points(prompt, clip[0], SIZE))
    session.obj_with_new_inputs = [1]
    masks = {}
    for frame in range(prompt.frame, -1, -1) if reverse else range(prompt.frame, len(clip)):
        pixels = sam2._pixels(clip[frame], SIZE)
        logits = model(inference_session=session, frame=pixels, frame_idx=frame, reverse=reverse).pred_masks
        masks[frame] = F.interpolate(logits, (HEIGHT, WIDTH), mode="bilinear")[0, 0] > 0
    return masks


def test_both_directions_equal_unpruned_sessions(model: Any, clip: Tensor) -> None:
    expected = unpruned(model, clip, CLICK, reverse=True) | unpruned(model, clip, CLICK, reverse=False)
    masks = list(track_occluder(model, clip, CLICK))
    assert [frame for frame, _ in masks] == [*range(18, COUNT), *range(17, -1, -1)]
    for frame, mask in masks:
        assert mask.dtype == torch.bool
        assert mask.shape == (HEIGHT, WIDTH)
        assert torch.equal(mask, expected[frame]), frame
    shares = [mask.float().mean() for _, mask in masks]
    assert 0.01 < torch.stack(shares).mean() < 0.99  # masks that say something


def test_memory_is_flat(model: Any, clip: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[Any] = []
    make = sam2._session

    def watched(model: Any) -> Any:
        sessions.append(make(model))
        return sessions[-1]

    monkeypatch.setattr(sam2, "_session", watched)
    kept = []
    for _ in track_occluder(model, clip[:30], Prompt(0, ((20.0, 10.0),), (1,))):
        outputs = sessions[0].output_dict_per_obj[0]
        assert len(sessions[0].processed_frames) == 0
        assert len(sessions[0].cache._vision_features) <= 1
        assert len(outputs["cond_frame_outputs"]) == 1
        assert len(sessions[0].frames_tracked_per_obj[0]) <= 16
        kept.append(len(outputs["non_cond_frame_outputs"]))
    assert kept == [*range(15), *[15] * 15]
    assert len(sessions) == 1  # nothing lies before frame 0


def test_frames_are_read_one_at_a_time(model: Any, clip: Tensor) -> None:
    class Reader:
        asked: list[int] = []  # noqa: RUF012

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Tensor:
            self.asked.append(index)
            return clip[index]

    masks = track_occluder(model, Reader(), Prompt(3, box=(5, 5, 30, 30)))
    assert next(masks)[0] == 3
    assert set(Reader.asked) == {3}
    assert sorted(frame for frame, _ in masks) == [0, 1, 2, 4, 5]


def test_last_frame_prompted(model: Any, clip: Tensor) -> None:
    assert [frame for frame, _ in track_occluder(model, clip[:3], Prompt(2, ((1.0, 1.0),), (1,)))] == [2, 1, 0]


def test_prompt_in_the_pixels_of_the_square() -> None:
    prompt = Prompt(0, ((25.0, 10.0), (5.0, 20.0)), (1, 0), (0.0, 0.0, 50.0, 40.0))
    points = sam2._points(prompt, torch.zeros(HEIGHT, WIDTH, 3), 100)
    assert points["point_coords"].tolist() == [[[[0, 0], [100, 100], [50, 25], [10, 50]]]]
    assert points["point_labels"].tolist() == [[[2, 3, 1, 0]]]


def test_pixels_are_normalised() -> None:
    pixels = sam2._pixels(torch.full((HEIGHT, WIDTH, 4), 0.5), SIZE)
    assert pixels.shape == (1, 3, SIZE, SIZE)
    expected = (0.5 - torch.tensor(sam2.MEAN)) / torch.tensor(sam2.STD)
    torch.testing.assert_close(pixels.mean((0, 2, 3)), expected)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(0), "selects no object: add a point on the object or a box around it"),
        (Prompt(0, ((1.0, 1.0),), (0,)), "selects no object"),
        (Prompt(36, ((1.0, 1.0),), (1,)), "is on frame 36 but the clip has 36 frames: choose 0 to 35"),
        (Prompt(-1, ((1.0, 1.0),), (1,)), "is on frame -1"),
        (Prompt(0, ((50.0, 1.0),), (1,)), "point 50,1 is outside the frame of 50x40 pixels: choose a point inside"),
        (Prompt(0, ((1.0, float("nan")),), (1,)), "point 1,nan is outside"),
        (Prompt(0, ((1.0, 1.0),), ()), r"1 points have labels \(\): expected one 0 or 1 per point"),
        (Prompt(0, ((1.0, 1.0),), (2,)), r"labels \(2,\)"),
        (Prompt(0, box=(5, 5, 51, 9)), "box 5,5,51,9 is not inside the frame of 50x40 pixels"),
        (Prompt(0, box=(5, 5, 5, 9)), "expected left, top, right and bottom in pixels"),
    ],
)
def test_wrong_prompt(model: Any, clip: Tensor, prompt: Prompt, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        track_occluder(model, clip, prompt)


def test_typed_prompt() -> None:
    typed = Prompt.read(3, "12, 34\n\n -5,6.5 \n", " 1,2, 3,4 ")
    assert typed == Prompt(3, ((12.0, 34.0), (5.0, 6.5)), (1, 0), (1.0, 2.0, 3.0, 4.0))
    assert Prompt.read(0) == Prompt(0)


@pytest.mark.parametrize(
    ("points", "box", "message"),
    [
        ("12", "", """point '12': expected "x,y" or "-x,y\""""),
        ("12,a", "", "point '12,a'"),
        ("1,2,3", "", "point '1,2,3'"),
        ("", "1,2,3", """box '1,2,3': expected "x0,y0,x1,y1\""""),
    ],
)
def test_wrongly_typed_prompt(points: str, box: str, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        Prompt.read(0, points, box)
