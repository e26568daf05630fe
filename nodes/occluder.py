"""Find Occluder and Track Occluder: whatever covers the face, such as a hand or a microphone, through the clip.

Find Occluder needs no mark and no file; Track Occluder follows with SAM 2 what is marked on one frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor, nn

from ..keysync.errors import KeySyncError
from ..keysync.face.occlusion import find_occluder
from ..keysync.face.occlusion_sam2 import follow_found
from ..keysync.face.sam2 import Prompt, load_sam2, track_occluder
from ..keysync.face.track import no_face
from ..keysync.media.source import FramesInMemory
from ..keysync.weights.files import PICKLES, SAFETENSORS
from .host.frames import alive, check_frames, each_frame, steps
from .host.remedies import remedies
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket
from .host.video import MASK_RATE

# What the largest published model works with beside its weights; 0.8 GB were measured.
ACTIVATIONS = 1024**3  # bytes

folder_paths.add_model_folder_path("sam2", str(Path(folder_paths.models_dir, "sam2")))
# A set that is empty, as the core leaves it, would list every file.
folder_paths.folder_names_and_paths["sam2"][1].update((SAFETENSORS, *PICKLES))


NO_FILE = "none"


class FindOccluder(io.ComfyNode):
    """Finds what covers the mouth."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncFindOccluder",
            display_name="Find Occluder",
            category="KeySync",
            description="Finds what covers the mouth, such as a hand, a microphone or a cup, in the frames themselves. "
            "Nothing has to be marked, and no file is needed. With a SAM 2 file, the edges are more exact.",
            inputs=[
                io.Image.Input("images", tooltip="The frames used in Track Face."),
                FaceTrackSocket.Input("track", tooltip="From Track Face."),
                io.Combo.Input(
                    "model_name",
                    options=[NO_FILE, *folder_paths.get_filename_list("sam2")],
                    default=NO_FILE,
                    optional=True,
                    tooltip="A SAM 2 or 2.1 file in models/sam2 that follows what is found, also beside the mouth; "
                    "none uses what is found as it is.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask",
                    tooltip="1 where something covers the mouth, one mask per image, for Subtract Occlusion and Dub "
                    "Video.",
                ),
                io.String.Output(display_name="report", tooltip="In which frames something was found."),
            ],
        )

    @classmethod
    @remedies()
    def execute(cls, images: Tensor, track: Faces, model_name: str = NO_FILE) -> io.NodeOutput:
        check_frames(images, track.track)
        if not track.track.found.any():
            raise KeySyncError(f"{no_face(track.track)}: occluders are found before a face; use another detector")
        source = FramesInMemory("the images", images, MASK_RATE)
        found = find_occluder(source, source.timestamps(), track.track, steps(int(track.track.found.sum())))
        masks = torch.zeros(images.shape[:3])
        followed = follow_found(on_device(model_name).model.sam2, images, found) if model_name != NO_FILE else None
        for number, mask in followed or found.masks():
            alive()
            masks[number] = torch.from_numpy(mask)
        return io.NodeOutput(masks, "\n".join(found.notes()))


class TrackOccluder(io.ComfyNode):
    """Follows one object through all frames, from the frame where it is marked."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncTrackOccluder",
            display_name="Track Occluder (SAM2)",
            category="KeySync",
            description="Follows an object that covers the face, such as a hand or a microphone. Mark it on one frame "
            "with points or a box; it is tracked forwards and backwards through the clip.",
            inputs=[
                io.Image.Input("images", tooltip="The frames of the video, in order."),
                io.Combo.Input(
                    "model_name",
                    options=folder_paths.get_filename_list("sam2"),
                    tooltip="SAM 2 or 2.1 of any size in models/sam2: the authors' files (sam2.1_hiera_large.pt) or "
                    "those of transformers (model.safetensors).",
                ),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="The frame that the points and the box refer to, counted from 0. Choose one that shows the "
                    "object clearly.",
                ),
                io.String.Input(
                    "points",
                    default="",
                    multiline=True,
                    tooltip="Points on the object, one per line: x,y in pixels of the images. -x,y marks a point that "
                    "is not on the object.",
                ),
                io.String.Input(
                    "box",
                    default="",
                    tooltip="A box around the object: left,top,right,bottom in pixels. It can replace the points.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    tooltip="1 where the object is, one mask per image, for Subtract Occlusion and Dub Video."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **others: Any) -> str:
        stat = model_path(model_name).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    @remedies()
    def execute(cls, images: Tensor, model_name: str, frame: int, points: str, box: str) -> io.NodeOutput:
        prompt = Prompt.read(frame, points, box)
        return io.NodeOutput(gather(images, track_occluder(on_device(model_name).model.sam2, images, prompt)))


class Sam2(nn.Module):
    """transformers' model as the core holds one: it writes to attributes that transformers' own class forbids."""

    def __init__(self, sam2: nn.Module) -> None:
        super().__init__()
        self.sam2 = sam2


def model_path(name: str) -> Path:
    """The path of a file of models/sam2; raises `KeySyncError` if it is gone."""
    path = folder_paths.get_full_path("sam2", name)
    if path is None:
        raise KeySyncError(f"{name} is not in models/sam2: put it there, or choose another file")
    return Path(path)


def load(path: Path) -> ModelPatcher:
    """SAM 2 in the core's care. Raises `KeySyncError`."""
    with torch.inference_mode(False):
        model = Sam2(load_sam2(path))
    device = comfy.model_management.get_torch_device()
    return ModelPatcher(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())


def on_device(name: str) -> ModelPatcher:
    """SAM 2 of a file of models/sam2, loaded as a whole. Raises `KeySyncError`."""
    patcher = load(model_path(name))
    comfy.model_management.load_models_gpu([patcher], memory_required=ACTIVATIONS, force_full_load=True)
    return patcher


def gather(images: Tensor, masks: Iterator[tuple[int, Tensor]]) -> Tensor:
    """The masks as a MASK (n, h, w), each where its frame is."""
    result = torch.zeros(images.shape[:3])
    for _ in each_frame(len(images)):
        number, mask = next(masks)
        result[number] = mask
    return result


NODES = [FindOccluder, TrackOccluder]
