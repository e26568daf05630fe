"""Load KeyFace Model: both stages of KeyFace, and the weaker copy that guides the second, as the core's MODELs."""

from __future__ import annotations

from comfy_api.latest import io

from ..keysync.errors import KeySyncError
from .host.model import load_model, load_weak_model, model_path, own_files
from .host.search import schema
from .model import WEIGHT_DTYPES, weight_dtype_input

NONE = "none"
FOLDERS_TIP = "a file in models/keysync, models/diffusion_models or models/checkpoints"


class LoadKeyFaceModel(io.ComfyNode):
    """Loads the networks of KeyFace."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = own_files()
        return schema(
            node_id="KeySyncLoadKeyFaceModel",
            display_name="Load KeyFace Model",
            category="KeySync/portrait",
            description="Loads KeyFace, which makes a portrait talk: its keyframe model, its interpolation model, and "
            "the weaker copy that guides the second. LoRA loaders, offloading and Save Model work as for any other "
            "model.",
            inputs=[
                io.Combo.Input(
                    "keyframe_name",
                    options=files,
                    tooltip=f"KeyFace's keyframe checkpoint (keyframe.pt): {FOLDERS_TIP}.",
                ),
                io.Combo.Input(
                    "interpolation_name",
                    options=files,
                    tooltip=f"KeyFace's interpolation checkpoint (interpolation.pt): {FOLDERS_TIP}.",
                ),
                io.Combo.Input(
                    "weak_name",
                    options=[NONE, *files],
                    default=NONE,
                    tooltip="The weaker copy of the interpolation model that guides it (interpolation_bad.pt). The "
                    "file itself does not say that it is the weaker one. none: the interpolation is not guided.",
                ),
                weight_dtype_input(),
            ],
            outputs=[
                io.Model.Output(display_name="keyframe_model", tooltip="For Animate Portrait or Sample Keyframes."),
                io.Model.Output(
                    display_name="interpolation_model", tooltip="For Animate Portrait or Interpolate Keyframes."
                ),
                io.Model.Output(
                    display_name="weak_model",
                    tooltip="For Animate Portrait or Interpolate Keyframes. Empty where weak_name is none.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, keyframe_name: str, interpolation_name: str, weak_name: str, weight_dtype: str) -> str:
        names = [name for name in (keyframe_name, interpolation_name, weak_name) if name != NONE]
        stats = [model_path(name).stat() for name in names]
        return " ".join([weak_name, weight_dtype, *(f"{stat.st_mtime_ns} {stat.st_size}" for stat in stats)])

    @classmethod
    def execute(cls, keyframe_name: str, interpolation_name: str, weak_name: str, weight_dtype: str) -> io.NodeOutput:
        if weak_name == interpolation_name:
            raise KeySyncError(
                f"interpolation_name and weak_name are both {weak_name}: choose interpolation_bad.pt as weak_name, or "
                f"{NONE}"
            )
        dtype = WEIGHT_DTYPES[weight_dtype]
        keyframes = load_model(model_path(keyframe_name), dtype, expect="keyface_keyframe")
        between = load_model(model_path(interpolation_name), dtype, expect="keyface_interpolation")
        weak = None if weak_name == NONE else load_weak_model(model_path(weak_name), between, dtype)
        return io.NodeOutput(keyframes, between, weak)


NODES: list[type[io.ComfyNode]] = [LoadKeyFaceModel]
