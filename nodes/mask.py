"""Nodes that mask the region to generate: core MASK (n, h, w), 1 = generate, 0 = keep."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io
from numpy.typing import NDArray
from torch import Tensor

from ..keysync.choice import explain
from ..keysync.errors import KeySyncError
from ..keysync.face.crop import crop, to_crop
from ..keysync.face.masks import MASKS, subtract
from .host.frames import as_masks, each_frame
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket


class MouthMask(io.ComfyNode):
    """Draws the region to generate."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncMouthMask",
            display_name="Mouth Mask",
            category="KeySync",
            description="Draws the region to generate, one mask per frame. Frames without the face get an empty mask "
            "and stay unchanged. Any mask node can edit the masks.",
            inputs=[
                FaceTrackSocket.Input(
                    "track",
                    tooltip="From Crop Face: masks at the size of the crops. From Track Face: masks at the size of the "
                    "frames.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(MASKS),
                    default="box",
                    tooltip=explain("The region to generate. Choose the mask that the model was trained with.", MASKS),
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 where the mouth is generated, one mask per frame.")
            ],
        )

    @classmethod
    def execute(cls, track: Faces, kind: str) -> io.NodeOutput:
        return io.NodeOutput(draw(track, kind))


class SubtractOcclusion(io.ComfyNode):
    """Removes whatever covers the face from the mouth mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncSubtractOcclusion",
            display_name="Subtract Occlusion",
            category="KeySync",
            description="Removes whatever covers the face, such as a hand or a microphone, from the mouth mask.",
            inputs=[
                io.Mask.Input("mask", tooltip="From Mouth Mask."),
                io.Mask.Input(
                    "occluder",
                    tooltip="White where something covers the face, one mask per frame or one for all, from Track "
                    "Occluder or any other segmentation node: at the size of the mask, or at the size of the frames if "
                    "track is connected.",
                ),
                FaceTrackSocket.Input(
                    "track",
                    optional=True,
                    tooltip="From Crop Face. Cuts an occluder at the size of the frames to the crops.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The mouth mask without the occluder.")],
        )

    @classmethod
    def execute(cls, mask: Tensor, occluder: Tensor, track: Faces | None = None) -> io.NodeOutput:
        masks = as_masks(mask)
        return io.NodeOutput(subtract(masks, fit_occluders(as_masks(occluder), masks, track)))


def draw(faces: Faces, kind: str) -> Tensor:
    """Masks (n, H, W), 0 or 1, at the crops' size for a track in crop space, else at the frames'; 0 without a face."""
    track = faces.track
    size = faces.crop_size or track.size
    masks = torch.zeros(len(track.found), *size)
    for index in each_frame(len(masks)):
        if track.found[index]:
            points = torch.from_numpy(track.landmarks[index])
            if faces.boxes is not None:
                points = to_crop(points, faces.boxes[index], size)
            masks[index] = MASKS[kind](points, size)
    return masks


def fit_occluders(occluders: Tensor, masks: Tensor, faces: Faces | None) -> Tensor:
    """Occluders as `masks` (n, H, W) need them to be subtracted: those of whole frames are cut to the crops.

    Where frames and crops have one size, a linked track says that the occluders are of frames. Raises `KeySyncError`
    unless both agree in size, and in length or one of them is a single mask.
    """
    at, size = tuple(occluders.shape[1:]), (masks.shape[1], masks.shape[2])
    boxes = None
    if faces is not None and faces.crop_size == size and faces.track.size == at:
        boxes = faces.boxes
    if boxes is None and at != size:
        raise KeySyncError(
            f"the occluder is {at[1]}x{at[0]} but the mask is {size[1]}x{size[0]}: use an occluder at the size of the "
            "mask, or one at the size of the frames with the track from Crop Face"
        )
    n, m = len(masks), len(occluders)
    count = max(n, m) if boxes is None else len(boxes)
    if not {n, m} <= {1, count}:
        of_track = "" if boxes is None else f" and the track covers {count} frames"
        raise KeySyncError(f"there are {m} occluder masks but {n} masks{of_track}: use one per frame, or one for all")
    return occluders if boxes is None else cut(occluders, boxes, size)


def cut(occluders: Tensor, boxes: NDArray[np.int64], size: tuple[int, int]) -> Tensor:
    """Occluders (n or 1, h, w) of whole frames cut at the boxes (n, 3 or 4): (n, H, W), 0 or 1."""
    crops = torch.empty(len(boxes), *size)
    for index in each_frame(len(boxes)):
        occluder = occluders[index % len(occluders), ..., None].cpu()  # h w -> h w 1
        crops[index] = crop(occluder, boxes[index], size)[..., 0] > 0.5
    return crops


NODES: list[type[io.ComfyNode]] = [MouthMask, SubtractOcclusion]
