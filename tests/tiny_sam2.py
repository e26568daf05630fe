"""A SAM 2 of random weights, tiny; it needs transformers alone, so that tests inside ComfyUI can load it by path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIZE = 64  # pixels of the square that it sees


def tiny_sam2(seed: int = 0) -> Any:
    """A `Sam2VideoModel` with every part of the published ones, and weights strong enough to be heard in its masks."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [SIZE, SIZE],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 1, 2, 1],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [2, 2],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIZE // 4] * 2, [SIZE // 8] * 2, [SIZE // 16] * 2],
        "fpn_hidden_size": 128,
    }
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 128, "image_size": SIZE},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        image_size=SIZE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[SIZE // 16] * 2,
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
    )
    model = Sam2VideoModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(value.shape, generator=generator) * (0.3 if value.ndim == 1 else 0.15)
        for name, value in model.state_dict().items()
    }
    twin = "shared_image_embedding.positional_embedding"
    state[twin] = torch.randn(state[twin].shape, generator=generator)
    state["prompt_encoder.shared_embedding.positional_embedding"] = state[twin].clone()
    state["mask_decoder.pred_obj_score_head.proj_out.bias"] = torch.tensor([20.0])  # the object is always there
    model.load_state_dict(state)
    return model.requires_grad_(False)


def write_tiny_sam2(path: Path, seed: int = 0) -> Path:
    """The tiny model as one file in transformers' layout that carries its config.json with it."""
    model = tiny_sam2(seed)
    config = json.dumps(model.config.to_dict(), default=str)
    save_file({name: value.clone() for name, value in model.state_dict().items()}, path, {"config": config})
    return path
