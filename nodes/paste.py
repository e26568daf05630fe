"""Paste Face: pastes generated crops back into their frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from comfy_api.latest import io
from numpy.typing import NDArray
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.face.paste import FEATHER, Place, paste
from ..keysync.face.track import FaceTrack
from .host.checks import want_finite, want_number
from .host.frames import as_masks, check_frames, each_frame, name_frames
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket


class PasteFace(io.ComfyNode):
    """Pastes generated crops back into their frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncPasteFace",
            display_name="Paste Face",
            category="KeySync",
            description="Pastes the generated crops back into their frames, with matched colours and a feathered edge. "
            "Pixels outside the mask stay unchanged, and so do frames without the face or with an empty mask.",
            inputs=[
                io.Image.Input("images", tooltip="The frames used in Track Face."),
                io.Image.Input(
                    "crops",
                    tooltip="The generated crops, one per frame, at any size: an upscaler or a face restorer may come "
                    "before this node.",
                ),
                FaceTrackSocket.Input("track", tooltip="From Crop Face, with the crop positions."),
                io.Mask.Input(
                    "mask", tooltip="The mask that the crops were generated with: one per frame, or one for all."
                ),
                io.Float.Input(
                    "feather",
                    default=FEATHER,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Width of the soft edge inside the mask, as a fraction of the side of the crop.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The dubbed frames at their original size."),
                io.Mask.Output(display_name="mask", tooltip="The mask in the full frame, 0 or 1."),
                io.Mask.Output(display_name="matte", tooltip="The generated share of each pixel: the feathered mask."),
                io.String.Output(
                    display_name="report", tooltip="How many frames have a new mouth, and which ones are unchanged."
                ),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, crops: Tensor, track: Faces, mask: Tensor, feather: float) -> io.NodeOutput:
        want_number("feather", feather)
        masks = as_masks(mask)
        boxes = check(images, crops, masks, track)
        pasted = paste_all(images, crops, track.track, boxes, masks, feather)
        return io.NodeOutput(pasted.images, pasted.masks, pasted.mattes, describe(track.track, pasted.masks))


def check_sizes(crops: Tensor, masks: Tensor, faces: Faces) -> None:
    """Raises `KeySyncError` for crops of another shape than Crop Face makes, and for masks that are not of crops."""
    height, width = faces.crop_size or crops.shape[1:3]
    h, w = crops.shape[1:3]
    if h * width != w * height:
        raise KeySyncError(
            f"the crops are {w}x{h} but Crop Face cuts {width}x{height}: keep the aspect ratio; scale them without "
            "cropping or stretching"
        )
    at_h, at_w = masks.shape[1:]
    if (at_h, at_w) not in ((height, width), (h, w)):
        raise KeySyncError(
            f"the mask is {at_w}x{at_h} but the crops are {width}x{height}: connect the mask of the crops, from Mouth "
            "Mask with the track of Crop Face"
        )


class Pasted(NamedTuple):
    """Frames (n, h, w, c) with, for each, the mask and the matte (n, h, w) that the crop was blended with."""

    images: Tensor
    masks: Tensor
    mattes: Tensor


def check(images: Tensor, crops: Tensor, masks: Tensor, faces: Faces) -> NDArray[np.int64]:
    """The crops' boxes (n, 3 or 4). Raises `KeySyncError` unless each image has one crop, one mask and one box."""
    if faces.boxes is None:
        raise KeySyncError("the track is from Track Face and has no crops: connect the track of Crop Face")
    check_frames(images, faces.track)
    if len(crops) != len(images):
        raise KeySyncError(f"there are {len(crops)} crops but {len(images)} images: give one for each image, in order")
    if len(masks) not in (1, len(images)):
        raise KeySyncError(
            f"there are {len(masks)} masks but {len(images)} images: give one for each image, in order, or one for all"
        )
    check_sizes(crops, masks, faces)
    for what, batch in {"images": images, "crops": crops, "mask": masks}.items():
        want_finite(batch, what)
    return faces.boxes


def paste_all(
    images: Tensor, crops: Tensor, track: FaceTrack, boxes: NDArray[np.int64], masks: Tensor, feather: float
) -> Pasted:
    """Pastes frame by frame: beside the result only one frame is held.

    images (n, h, w, c); crops (n, H, W, c) and masks (n or 1, H, W) at any size.
    """
    result = images.clone()
    full, mattes = (torch.zeros(images.shape[:3]) for _ in range(2))
    for index in each_frame(len(images)):
        mask = masks[index % len(masks)]
        if not track.found[index] or not bool((mask > 0.5).any()):
            continue
        place = Place.of(mask, boxes[index], track.size, feather)
        result[index, ..., :3] = paste(images[index, ..., :3], crops[index, ..., :3], place)
        full[index][place.region] = place.mask
        mattes[index][place.region] = place.matte
    return Pasted(result, full, mattes)


def describe(track: FaceTrack, masks: Tensor) -> str:
    """A readable account of the frames, a line each; `masks` are those in the whole frame."""
    shown = masks.flatten(1).any(1).tolist()
    groups = {
        "no face, left as they were": [i for i, seen in enumerate(track.found) if not seen],
        "empty mask, left as they were": [i for i, seen in enumerate(track.found) if seen and not shown[i]],
        "face position interpolated, pasted": [i for i, filled in enumerate(track.filled) if filled and shown[i]],
    }
    lines = [f"{sum(shown)} of {len(shown)} frames have a new mouth"]
    return "\n".join(lines + [f"{what}: frames {name_frames(frames)}" for what, frames in groups.items() if frames])


NODES: list[type[io.ComfyNode]] = [PasteFace]
