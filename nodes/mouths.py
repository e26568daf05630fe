"""Choose Mouths and Warp Mouths: the system rewrite in two steps, on crops."""

from __future__ import annotations

from collections.abc import Iterator

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.speech.lips_curve import LipsCurve
from ..keysync.systems.renderer import Unchanged
from ..keysync.systems.rewrite.rewriter import NEEDS, Rewriting
from ..keysync.systems.rewrite.steps import choose_mouths, make_tools, warp_mouths
from .host.checks import want_finite
from .host.frames import as_masks, name_frames, steps
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket, LipsSocket, Mouths, MouthsSocket


class ChooseMouths(io.ComfyNode):
    """Chooses a mouth for each frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncChooseMouths",
            display_name="Choose Mouths",
            category="KeySync/lips",
            description="Collects the mouths of a clip and chooses for each frame the one that the lips curve asks "
            "for. Mouths are lent within a shot only.",
            inputs=[
                io.Image.Input("crops", tooltip="From Crop Face with no model connected."),
                FaceTrackSocket.Input("track", tooltip="From Crop Face."),
                io.Mask.Input(
                    "mask",
                    tooltip="From Mouth Mask: the region in which mouths are drawn. One per frame or one for all.",
                ),
                LipsSocket.Input("lips", tooltip="The lips to follow, as long as the frames."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.1,
                    max=3.0,
                    step=0.05,
                    tooltip="How far the mouth moves. 1 is ordinary speech.",
                ),
            ],
            outputs=[MouthsSocket.Output(display_name="mouths", tooltip="The chosen mouths, for Warp Mouths.")],
        )

    @classmethod
    @remedies()
    def execute(cls, crops: Tensor, track: Faces, mask: Tensor, lips: LipsCurve, strength: float) -> io.NodeOutput:
        settings = Rewriting(strength)
        masks = check(crops, track, as_masks(mask))
        tools = make_tools(comfy.model_management.get_torch_device(), steps(2 * int(track.track.found.sum())))
        chosen = choose_mouths(tools, crops[..., :3].cpu(), masks, track.track, lips, settings)
        return io.NodeOutput(Mouths(chosen, masks, (*chosen.notes, *left_over(lips, len(crops)))))


class WarpMouths(io.ComfyNode):
    """Draws the chosen mouths."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncWarpMouths",
            display_name="Warp Mouths",
            category="KeySync/lips",
            description="Draws the chosen mouths into the crops, warped to the head's pose, with the colour and the "
            "sharpness of each frame. Where something hides the mouth, the frame stays unchanged.",
            inputs=[
                io.Image.Input("crops", tooltip="The crops used in Choose Mouths."),
                MouthsSocket.Input("mouths", tooltip="From Choose Mouths."),
            ],
            outputs=[
                io.Image.Output(display_name="crops", tooltip="The crops with new mouths, for Paste Face."),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="Where each crop has its new mouth, for Paste Face. Empty for frames that stay unchanged.",
                ),
                io.String.Output(
                    display_name="report", tooltip="How many frames have a new mouth, and why the others are unchanged."
                ),
            ],
        )

    @classmethod
    @remedies()
    def execute(cls, crops: Tensor, mouths: Mouths) -> io.NodeOutput:
        want_finite(crops, "crops")
        tools = make_tools(comfy.model_management.get_torch_device(), steps(len(crops)))
        drawn, masks = crops[..., :3].cpu().clone(), torch.zeros(crops.shape[:3])
        unchanged: dict[str, list[int]] = {}
        for number, made in enumerate(warp_mouths(tools, crops[..., :3].cpu(), mouths.clip)):
            if isinstance(made, Unchanged):
                unchanged.setdefault(made.reason, []).append(number)
                continue
            shown = made[..., 3:]
            drawn[number] += shown * (made[..., :3] - drawn[number])
            masks[number] = (mouths.masks[number] > 0.5) & (shown[..., 0] > 0)
        return io.NodeOutput(drawn, masks, "\n".join([describe(len(crops), unchanged), *mouths.notes]))


def check(crops: Tensor, faces: Faces, masks: Tensor) -> Tensor:
    """The masks (n, H, W), one for each crop. Raises `KeySyncError` where the inputs are of different clips."""
    want_finite(crops, "crops")
    if len(crops) != len(faces.track.found):
        raise KeySyncError(
            f"there are {len(crops)} crops but the track covers {len(faces.track.found)} frames: connect both from the "
            "same Crop Face"
        )
    if faces.boxes is None:
        raise KeySyncError("the track is from Track Face and has no crops: connect the track of Crop Face")
    side = min(int(faces.boxes[:, 2].max()), *NEEDS.crop_size)
    if crops.shape[1] < side:
        raise KeySyncError(
            f"the crops are {crops.shape[2]}x{crops.shape[1]} but the face takes {side}x{side} pixels of the frames",
            about="crops",
        )
    if masks.shape[1:] != crops.shape[1:3] or len(masks) not in (1, len(crops)):
        raise KeySyncError(
            f"there are {len(masks)} masks of {masks.shape[2]}x{masks.shape[1]} but {len(crops)} crops of "
            f"{crops.shape[2]}x{crops.shape[1]}: connect Mouth Mask, with the track of Crop Face"
        )
    return masks.cpu().expand(len(crops), -1, -1)


def left_over(lips: LipsCurve, count: int) -> Iterator[str]:
    """A note where a curve goes on after the last of the frames."""
    more = len(lips.values) - count
    if more > 0:
        yield (
            f"the lips curve has {len(lips.values)} frames, {more} more than the crops: they are left out; if the lips "
            "are late, use the frame rate of the frames"
        )


def describe(count: int, unchanged: dict[str, list[int]]) -> str:
    """What happened to the frames, a line each."""
    dubbed = count - sum(map(len, unchanged.values()))
    lines = [f"{dubbed} of {count} frames have a new mouth"]
    return "\n".join(lines + [f"unchanged, {reason}: frames {name_frames(at)}" for reason, at in unchanged.items()])


NODES: list[type[io.ComfyNode]] = [ChooseMouths, WarpMouths]
