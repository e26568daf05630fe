"""Loads SAM 2: files in its authors' or transformers' layout into transformers' `Sam2VideoModel`.

Both layouts hold the same tensors, except that four point embeddings (1, c) are one (4, c) in transformers, and that
transformers has the positional matrix (2, c / 2) twice. Names are compared one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import KeySyncError, concerning, install_line, one_line
from ..imports import import_alone
from ..weights.files import read_tensors, shapes_of
from ..weights.finite import check_weights
from ..weights.identify import KINDS, identify
from ..weights.settings import (
    ACTIVATION,
    EPSILON,
    FLAG,
    Rule,
    Table,
    allowed,
    either,
    number,
    one_of,
    read_settings,
    some,
    whole,
)

# transformers' module of the model that tracks through a video.
MODELING = "transformers.models.sam2_video.modeling_sam2_video"

# Prefixes of the backbone's position embedding (1, width, side, side) in the two layouts.
OFFICIAL = "image_encoder.trunk."
TRANSFORMERS = "vision_encoder.backbone."

POINTS = "prompt_encoder.point_embed.weight"
# Tensors that SAM 2.1 has and SAM 2 lacks, in both layouts.
NEWER = {"no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"}
# The two names of the positional matrix in transformers; a file may lack one.
TWINS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")

# transformers' names to those of SAM 2's authors, applied in order.
RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"^({'|'.join(map(re.escape, TWINS))})$", "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (rf"^{re.escape(TRANSFORMERS)}", OFFICIAL),
    (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"\.mask_downsampler\.layers\.(\d+)\.conv\.", lambda match: f".mask_downsampler.encoder.{3 * int(match[1])}."),
    (
        r"\.mask_downsampler\.layers\.(\d+)\.layer_norm\.",
        lambda match: f".mask_downsampler.encoder.{3 * int(match[1]) + 1}.",
    ),
    (r"\.mask_downsampler\.final_conv\.", ".mask_downsampler.encoder.12."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"\.feature_projection\.", ".pix_feat_proj."),
    (r"\.memory_fuser\.", ".fuser."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    (r"\.scale$", ".gamma"),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    # Perceptrons of two layers, then those of three.
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
    (r"(_head|_proj|_mlps\.\d+)\.layers\.0\.", r"\1.layers.1."),
    (r"\.proj_out\.", ".layers.2."),
    (r"\.proj_in\.", ".layers.0."),
    (r"\.layer_norm", ".norm"),
    (r"\.o_proj\.", ".out_proj."),
)


@dataclass(frozen=True)
class Size:
    """What cannot be derived from the shapes of a published backbone; windows and background in tokens."""

    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, int, int]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7


# The published sizes of SAM 2 and 2.1 by width and number of blocks: tiny, small, base+ and large.
SIZES = {
    (96, 12): Size(1, (1, 2, 7, 2), (5, 7, 9)),
    (96, 16): Size(1, (1, 2, 11, 2), (7, 10, 13)),
    (112, 24): Size(2, (2, 3, 16, 3), (12, 16, 20), background=14),
    (144, 48): Size(2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}

# What transformers' SAM 2 takes from settings, within bounds that hold the largest published one (144 wide, 48 blocks,
# 1024 pixels) several times over.
WIDTH, COUNT, PIXELS, KERNEL = whole(1, 8192), whole(1, 64), whole(16, 4096), whole(1, 64)
PLACE: Rule = whole(0, 1024)
SETTINGS: Table = {
    "image_size": PIXELS,
    "vision_config": {
        "model_type": one_of("sam2_vision_model"),
        "backbone_config": {
            # Any other would have transformers build another kind of model.
            "model_type": one_of("sam2_hiera_det_model"),
            "hidden_size": WIDTH,
            "num_attention_heads": COUNT,
            "num_channels": whole(1, 4),
            "image_size": either(PIXELS, some(PIXELS, 2)),
            "patch_kernel_size": either(KERNEL, some(KERNEL, 2)),
            "patch_stride": either(KERNEL, some(KERNEL, 2)),
            "patch_padding": either(PLACE, some(PLACE, 2)),
            "query_stride": either(KERNEL, some(KERNEL, 2)),
            "window_positional_embedding_background_size": some(COUNT, 2),
            "num_query_pool_stages": whole(0, 8),
            "blocks_per_stage": some(COUNT, 8),
            "embed_dim_per_stage": some(WIDTH, 8),
            "num_attention_heads_per_stage": some(COUNT, 8),
            "window_size_per_stage": some(PLACE, 8),
            "global_attention_blocks": some(PLACE, 64),
            "mlp_ratio": number(0.1, 16),
            "hidden_act": ACTIVATION,
            "layer_norm_eps": EPSILON,
        },
        "backbone_channel_list": some(WIDTH, 8),
        "backbone_feature_sizes": some(some(whole(1, 1024), 2), 8),
        "fpn_hidden_size": WIDTH,
        "fpn_kernel_size": KERNEL,
        "fpn_stride": KERNEL,
        "fpn_padding": PLACE,
        "fpn_top_down_levels": some(PLACE, 8),
        "num_feature_levels": whole(1, 8),
        "hidden_act": ACTIVATION,
        "layer_norm_eps": EPSILON,
    },
    "prompt_encoder_config": {
        "hidden_size": WIDTH,
        "image_size": PIXELS,
        "patch_size": KERNEL,
        "mask_input_channels": WIDTH,
        "num_point_embeddings": whole(4, 4),
        "hidden_act": ACTIVATION,
        "layer_norm_eps": EPSILON,
        "scale": number(-1000, 1000),
    },
    "mask_decoder_config": {
        "hidden_size": WIDTH,
        "hidden_act": ACTIVATION,
        "mlp_dim": whole(1, 65536),
        "num_hidden_layers": COUNT,
        "num_attention_heads": COUNT,
        "attention_downsample_rate": COUNT,
        "num_multimask_outputs": COUNT,
        "iou_head_depth": COUNT,
        "iou_head_hidden_dim": WIDTH,
        "dynamic_multimask_via_stability": FLAG,
        "dynamic_multimask_stability_delta": number(0, 1000),
        "dynamic_multimask_stability_thresh": number(0, 1),
    },
    "num_maskmem": COUNT,
    "sigmoid_scale_for_mem_enc": number(-1000, 1000),
    "sigmoid_bias_for_mem_enc": number(-1000, 1000),
    "enable_occlusion_spatial_embedding": FLAG,
    "multimask_output_in_sam": FLAG,
    "multimask_min_pt_num": PLACE,
    "multimask_max_pt_num": PLACE,
    "multimask_output_for_tracking": FLAG,
    "max_object_pointers_in_encoder": COUNT,
    "max_cond_frame_num": whole(-1, 1024),
    "enable_temporal_pos_encoding_for_object_pointers": FLAG,
    "memory_attention_hidden_size": WIDTH,
    "memory_attention_num_layers": COUNT,
    "memory_attention_num_attention_heads": COUNT,
    "memory_attention_downsample_rate": COUNT,
    "memory_attention_feed_forward_hidden_size": whole(1, 65536),
    "memory_attention_feed_forward_hidden_act": ACTIVATION,
    "memory_attention_rope_feat_sizes": some(whole(1, 128), 2),
    "memory_attention_rope_theta": number(1, 1e7),
    "rope_parameters": {"rope_theta": number(1, 1e7), "rope_type": one_of("axial", "default")},
    "memory_encoder_hidden_size": WIDTH,
    "memory_encoder_output_channels": WIDTH,
    "mask_downsampler_embed_dim": WIDTH,
    "mask_downsampler_kernel_size": KERNEL,
    "mask_downsampler_stride": KERNEL,
    "mask_downsampler_padding": PLACE,
    "mask_downsampler_total_stride": KERNEL,
    "mask_downsampler_hidden_act": ACTIVATION,
    "memory_fuser_num_layers": COUNT,
    "memory_fuser_embed_dim": WIDTH,
    "memory_fuser_intermediate_dim": whole(1, 65536),
    "memory_fuser_kernel_size": KERNEL,
    "memory_fuser_padding": PLACE,
    "memory_fuser_layer_scale_init_value": number(-1000, 1000),
    "memory_fuser_hidden_act": ACTIVATION,
}


def load_sam2(path: str | Path) -> Any:
    """Loads SAM 2 from a file in either layout: a `Sam2VideoModel` on the CPU in float32, in evaluation mode.

    A model of an unpublished size needs its config.json next to it, or in the file's metadata.
    Raises `KeySyncError` for another kind of file, missing or misshapen tensors, and if transformers is too old.
    """
    path = Path(path)
    transformers = import_transformers()
    with concerning("sam2"):
        tensors, metadata = read_tensors(path)
        model, config = _build(transformers, path, _settings(path, tensors, metadata))
        needed = model.state_dict()
        sources = {name: _sources(name, tensors) for name in needed}
        _compare_names(path, sources, tensors)
        _compare_shapes(path, needed, sources, tensors)
        check_weights(path, tensors)
    # Rebuilt off the meta device, now that the file holds as much: it computes a table that files do not contain.
    model.memory_attention = type(model.memory_attention)(config)
    # Copied: a memory-mapped tensor would change with its file.
    weights = {name: _copied([tensors[source] for source in sources[name]]) for name in needed}
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False).eval()


def official_names(name: str) -> list[str]:
    """The authors' names of a tensor of transformers: one, or four for the point embeddings."""
    if name == POINTS:
        return [f"sam_prompt_encoder.point_embeddings.{point}.weight" for point in range(4)]
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return [name]


def import_transformers() -> Any:
    """The module transformers. Raises `KeySyncError` if it is missing, or too old to track frame by frame."""
    install = install_line("transformers>=4.57")
    try:
        transformers: Any = import_alone("transformers")
    except ImportError as error:
        raise KeySyncError(f"SAM 2 needs transformers, which is not installed: {install}") from error
    if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (4, 57):
        raise KeySyncError(
            f"transformers {transformers.__version__} is too old for SAM 2: expected 4.57 or newer; {install}"
        )
    import_alone(MODELING)
    return transformers


def published_settings(width: int, depth: int, *, newer: bool = True) -> dict[str, Any]:
    """transformers' settings of a published size; `newer` selects SAM 2.1."""
    size = SIZES[width, depth]
    widths = [width * 2**stage for stage in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": size.heads,
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [size.heads * 2**stage for stage in range(4)],
        "blocks_per_stage": list(size.blocks),
        "global_attention_blocks": list(size.global_blocks),
        "window_size_per_stage": list(size.windows),
        "window_positional_embedding_background_size": [size.background, size.background],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": widths[::-1],
    }
    return {
        "vision_config": vision,
        "enable_temporal_pos_encoding_for_object_pointers": newer,
        "enable_occlusion_spatial_embedding": newer,
    }


def _settings(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    prefix = OFFICIAL if f"{OFFICIAL}pos_embed" in tensors else TRANSFORMERS
    shapes = shapes_of(tensors)
    shape = shapes.get(f"{prefix}pos_embed", ())
    if len(shape) != 4:
        kind, sign = identify(shapes)
        raise KeySyncError(f"{path} is {KINDS[kind]} ({sign}): expected a SAM 2 model")
    blocks = {match[1] for name in tensors if (match := re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", name))}
    width, depth = shape[1], len(blocks)
    if (width, depth) in SIZES:
        return published_settings(width, depth, newer=not NEWER.isdisjoint(tensors))
    beside = path.with_name("config.json")
    if "config" not in metadata and not beside.is_file():
        raise KeySyncError(
            f"{path} is {width} channels wide with {depth} blocks, which is not a published size of SAM 2: "
            "put the config.json that belongs to it next to it"
        )
    source: str | Path = metadata.get("config") or beside
    return read_settings(source, f"the config.json of {path}")


def _build(transformers: Any, path: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The model on the meta device, and its configuration."""
    try:
        config = transformers.Sam2VideoConfig.from_dict(allowed(settings, SETTINGS, str(path)))
        config._attn_implementation = "sdpa"  # no file chooses it
        with torch.device("meta"):
            return transformers.Sam2VideoModel(config), config
    except Exception as error:  # transformers raises many kinds of errors for invalid settings
        raise KeySyncError(
            f"the settings of {path} are invalid ({one_line(error)}): put the config.json that belongs to it next to it"
        ) from error


def _sources(name: str, tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the file's tensors that form one tensor of transformers."""
    if f"{OFFICIAL}pos_embed" in tensors:
        return official_names(name)
    if name in TWINS and name not in tensors:
        return [twin for twin in TWINS if twin != name]
    return [name]


def _compare_names(path: Path, sources: Mapping[str, list[str]], tensors: Mapping[str, Tensor]) -> None:
    needed = {source for names in sources.values() for source in names}
    missing = sorted(needed - tensors.keys())
    if missing:
        raise KeySyncError(f"{path} lacks {_first(missing)}: expected a complete SAM 2 model, including its memory")
    unknown = sorted(tensors.keys() - needed)
    if unknown:
        raise KeySyncError(f"{path} also contains {_first(unknown)}: expected only a SAM 2 model")


def _compare_shapes(
    path: Path, needed: Mapping[str, Tensor], sources: Mapping[str, list[str]], tensors: Mapping[str, Tensor]
) -> None:
    for name, tensor in needed.items():
        count = len(sources[name])  # of tensors joined along the first dimension
        expected = (tensor.shape[0] // count, *tensor.shape[1:]) if count > 1 else tuple(tensor.shape)
        for source in sources[name]:
            if tuple(tensors[source].shape) != expected:
                raise KeySyncError(
                    f"{path}: {source} has shape {tuple(tensors[source].shape)}: expected {expected}; "
                    "put the config.json that belongs to it next to it"
                )


def _copied(parts: list[Tensor]) -> Tensor:
    joined = torch.cat(parts) if len(parts) > 1 else parts[0]
    return joined.to(torch.float32, copy=True)


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more tensors" if len(names) > 1 else "")
