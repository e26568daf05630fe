"""Load KeySync Model: a stage's checkpoint as the core's MODEL."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from .host.model import load_model, model_files, model_path
from .host.search import schema

WEIGHT_DTYPES = {
    "default": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}


class LoadKeySyncModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLoadModel",
            display_name="Load KeySync Model",
            category="KeySync",
            description="Loads one stage of KeySync, keyframes or interpolation, and detects which one a file is. "
            "LoRA loaders, offloading and Save Model work as for any other model.",
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_files(),
                    tooltip="A KeySync checkpoint: the built-in keysync-small, or a file in models/keysync, "
                    "models/diffusion_models or models/checkpoints.",
                ),
                weight_dtype_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model, for the nodes that sample and for Dub Video.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name: str, weight_dtype: str) -> str:
        stat = model_path(model_name).stat()
        return f"{stat.st_mtime_ns} {stat.st_size} {weight_dtype}"

    @classmethod
    def execute(cls, model_name: str, weight_dtype: str) -> io.NodeOutput:
        return io.NodeOutput(load_model(model_path(model_name), WEIGHT_DTYPES[weight_dtype]))


def weight_dtype_input() -> Any:
    """What the weights are held in."""
    return io.Combo.Input(
        "weight_dtype",
        options=list(WEIGHT_DTYPES),
        default="default",
        tooltip="Precision of the weights in memory. default lets ComfyUI choose; fp8 takes half the memory of fp16 "
        "and changes the picture slightly.",
    )


NODES: list[type[io.ComfyNode]] = [LoadKeySyncModel]
