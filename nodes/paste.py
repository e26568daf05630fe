"""The node that puts generated crops back into their frames."""

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
from .host.frames import as_masks, check_frames, each_frame, name_frames
from .host.sockets import Faces, FaceTrackSocket


class PasteFace(io.ComfyNode):
    """Puts generated crops back into their frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KeySyncPasteFace",
            display_name="Paste Face",
            category="KeySync",
            description="Puts the generated crops back into their frames: colours matched, the mask's edge feathered. "
            "Every pixel outside the mask stays as it was, and so does a frame without the face or with an empty mask.",
            inputs=[
                io.Image.Input("images", tooltip="The frames that went into Track Face."),
                io.Image.Input(
                    "crops",
                    tooltip="The generated crops, one a frame. A face restorer or an upscaler may have changed "
                    "their size.",
                ),
                FaceTrackSocket.Input("track", tooltip="From Crop Face: it knows where the crops came from."),
                io.Mask.Input("mask", tooltip="The mask that the crops were generated with, one a frame."),
                io.Float.Input(
                    "feather",
                    default=FEATHER,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Width of the soft edge, inside the mask, as a share of the crop's side.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Mask.Output(display_name="mask", tooltip="The mask in the whole frame: 1 or 0."),
                io.Mask.Output(
                    display_name="matte", tooltip="How much of each pixel is generated: the mask, feathered."
                ),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, crops: Tensor, track: Faces, mask: Tensor, feather: float) -> io.NodeOutput:
        masks = as_masks(mask)
        boxes = check(images, crops, masks, track)
        pasted = paste_all(images, crops, track.track, boxes, masks, feather)
        return io.NodeOutput(pasted.images, pasted.masks, pasted.mattes, describe(track.track, pasted.masks))


class Pasted(NamedTuple):
    """Frames (n, h, w, c) with, for each, the mask and the matte (n, h, w) that the crop was blended with."""

    images: Tensor
    masks: Tensor
    mattes: Tensor


def check(images: Tensor, crops: Tensor, masks: Tensor, faces: Faces) -> NDArray[np.int64]:
    """The crops' boxes (n, 3). Raises `KeySyncError` unless each image has one crop, one mask and one box."""
    if faces.boxes is None:
        raise KeySyncError("the track is from Track Face and has no crops: connect the track of Crop Face")
    check_frames(images, faces.track)
    for what, batch in {"crops": crops, "masks": masks}.items():
        if len(batch) != len(images):
            raise KeySyncError(
                f"there are {len(batch)} {what} but {len(images)} images: give one for each image, in order"
            )
    return faces.boxes


def paste_all(
    images: Tensor, crops: Tensor, track: FaceTrack, boxes: NDArray[np.int64], masks: Tensor, feather: float
) -> Pasted:
    """Pastes frame by frame: beside the result only one frame is held.

    images (n, h, w, c); crops (n, H, W, c) and masks (n, H, W) at any size.
    """
    result = images.clone()
    full, mattes = (torch.zeros(images.shape[:3]) for _ in range(2))
    for index in each_frame(len(images)):
        mask = masks[index]
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
