"""Join Windows: the decoded pictures of a talking head's windows as its frames."""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..keysync.network.stage import KEYFACE
from ..keysync.systems.keyface.join import join_windows
from .host.checks import spec_of, want_stage
from .host.search import schema


class JoinWindows(io.ComfyNode):
    """Pictures of windows as frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncJoinWindows",
            display_name="Join Windows",
            category="KeySync/portrait",
            description="Turns the decoded pictures of Interpolate Keyframes with KeyFace into the frames of the "
            "talking head. Neighbouring windows share a frame, which each of them draws; it becomes the mean of both "
            "pictures.",
            inputs=[
                io.Image.Input(
                    "images", tooltip="The pictures of all windows, from Decode Frames after Interpolate Keyframes."
                ),
                io.Model.Input("model", tooltip="The interpolation model that drew them, from Load KeyFace Model."),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="The frames at 25 fps, as many as the sound lasts, for Create Video or any other node.",
                )
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, model: ModelPatcher) -> io.NodeOutput:
        spec = spec_of(model)
        want_stage(spec, KEYFACE[1])
        return io.NodeOutput(join_windows(images, spec.window))


NODES: list[type[io.ComfyNode]] = [JoinWindows]
