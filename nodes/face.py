"""Nodes that find the face in every frame and cut out the square that the network sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from numpy.typing import NDArray
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.face.crop import NATIVE_SCALING, Crops, crop, resize, to_crop
from ..keysync.face.detectors import DETECTORS, make_detector
from ..keysync.face.face import Face, Frame
from ..keysync.face.finder.points import MESH_TO_68
from ..keysync.face.likeness import look_in
from ..keysync.face.masks import MASKS
from ..keysync.face.preview import draw_track
from ..keysync.face.track import Clues, FaceChoice, FaceTrack, Tracker, no_face
from ..keysync.media.source import as_bytes
from ..keysync.method import PUBLISHED_CROP_SCALE
from ..keysync.network.stage import STAGES, StageSpec
from ..keysync.systems.flashlips.models import FlashLips
from ..keysync.systems.rewrite.rewriter import NEEDS as REWRITE
from ..keysync.who import said_in
from .detector import DETECTOR_TIP, detector_device, detector_weights
from .host.audio import AudioDict
from .host.checks import spec_of, want_finite
from .host.frames import check_frames, each_frame, name_frames
from .host.search import schema
from .host.sockets import Faces, FaceTrackSocket, FlashLipsSocket
from .host.video import open_sound

# Made by the core's node MediaPipeFaceLandmarker, which the oldest supported ComfyUI lacks; the socket is only a name.
FaceLandmarksSocket = io.Custom("FACE_LANDMARKS")
FROM_SOCKET = "face_landmarks"
# The preview's longer side in pixels: it is for the eye, and as large as the frames it would double the memory.
PREVIEW_SIDE = 640
PREVIEW_OF_PUBLISHED = "preview: crop and mask of the published models; connect a model to see its own"

# Adds a frame to a track: its number and its picture (h, w, 3).
AddFrame = Callable[[Tracker, int, Frame], None]
# What messages call the input of that name.
PICTURE = Path("picture")
CHOICES: dict[str, Callable[[int, float, float, bool], FaceChoice]] = {
    "largest": lambda index, x, y, kept: FaceChoice(kept=kept),
    "index": lambda index, x, y, kept: FaceChoice(index=index, kept=kept),
    "coordinates": lambda index, x, y, kept: FaceChoice(point=(x, y), kept=kept),
    "picture": lambda index, x, y, kept: FaceChoice(picture=PICTURE),
    "speaking": lambda index, x, y, kept: FaceChoice(speaking=True),
}


class TrackFace(io.ComfyNode):
    """Follows one face through all frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncTrackFace",
            display_name="Track Face",
            category="KeySync",
            description="Follows one face through the frames and finds 68 points on it in each. Detects cuts, fills "
            "short gaps of the detector and smooths its jitter.",
            inputs=[
                io.Image.Input("images", tooltip="The frames of the video, in order."),
                io.Combo.Input(
                    "detector",
                    options=[*DETECTORS, FROM_SOCKET],
                    default="mediapipe",
                    tooltip=f"{DETECTOR_TIP}\n{FROM_SOCKET}: no detector, uses the input of that name",
                ),
                io.Combo.Input(
                    "face",
                    options=list(CHOICES),
                    default="largest",
                    tooltip="Which face to follow.\nlargest: the largest in each shot\nindex: the one at rank "
                    "face_index\ncoordinates: in each shot the one at face_x, face_y, or nearest to that point\n"
                    "picture: the person in the input of that name, through cuts\n"
                    "speaking: the one whose mouth moves with the input audio, through cuts",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=63,
                    tooltip="For face = index: 0 is the largest face, 1 the second largest, and so on.",
                ),
                io.Int.Input(
                    "face_x",
                    default=0,
                    min=0,
                    max=32768,
                    tooltip="For face = coordinates: pixels from the left edge of the image to the face.",
                ),
                io.Int.Input(
                    "face_y",
                    default=0,
                    min=0,
                    max=32768,
                    tooltip="For face = coordinates: pixels from the top edge of the image to the face.",
                ),
                io.Boolean.Input(
                    "same_person",
                    default=False,
                    optional=True,  # workflows of older versions lack it
                    tooltip="For largest, index and coordinates: choose the person once for all frames and follow them "
                    "through cuts by their looks. Off: choose anew in each shot.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.01,
                    optional=True,
                    tooltip="For face = speaking: frames per second of the images, to compare them with the audio.",
                ),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="For face = picture: the person to follow, seen from the front. The largest face counts.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="For face = speaking: the sound of the video itself, not the new speech.",
                ),
                FaceLandmarksSocket.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="From the core node Detect Face Landmarks (MediaPipe), run on the same images. If "
                    "connected, it replaces the detector.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="From Load KeySync Model. The preview shows the crop and mask of this model; without one, "
                    "those of the published models.",
                ),
            ],
            outputs=[
                FaceTrackSocket.Output(display_name="track", tooltip="The face track, for Crop Face and Dub Video."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="The frames with points, crop and mask drawn in, and every face with its face_index. At "
                    f"most {PREVIEW_SIDE} pixels per side.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="In which frames the face was found, and why not in the others.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        detector: str,
        face: str,
        face_index: int,
        face_x: int,
        face_y: int,
        same_person: bool = False,
        fps: float = 25.0,
        picture: Tensor | None = None,
        audio: AudioDict | None = None,
        face_landmarks: Mapping[str, Any] | None = None,
        model: ModelPatcher | None = None,
    ) -> io.NodeOutput:
        spec = None if model is None else spec_of(model)
        choice = CHOICES[face](face_index, face_x, face_y, same_person)
        check_point(choice, images)
        clues = clues_from(choice, len(images), fps, picture, audio)
        with face_finder(detector, face_landmarks, images) as add_frame:
            track = follow(images, add_frame, choice, clues)
        lines = [describe(track), *check_distance(choice, track), *([] if spec else [PREVIEW_OF_PUBLISHED])]
        return io.NodeOutput(Faces(track), preview(images, track, spec or STAGES["keyframe"]), "\n".join(lines))


class CropFace(io.ComfyNode):
    """Cuts the square around the face out of every frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncCropFace",
            display_name="Crop Face",
            category="KeySync",
            description="Cuts a square around the face out of every frame, at the resolution of the model. Without a "
            "model, at that of Choose Mouths.",
            inputs=[
                io.Image.Input("images", tooltip="The frames used in Track Face."),
                FaceTrackSocket.Input("track", tooltip="From Track Face."),
                io.MultiType.Input(
                    "model",
                    types=[io.Model, FlashLipsSocket],
                    optional=True,
                    tooltip="From Load KeySync Model or Load FlashLips. Sets the size and the scale of the crops. "
                    "Without one, they are as Choose Mouths needs them.",
                ),
                io.Boolean.Input(
                    "align",
                    default=False,
                    optional=True,  # workflows of older versions lack it
                    tooltip="Turn the crops with the head, so that the eyes are level: for tilted heads. Mouth Mask "
                    "and Paste Face follow.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="crops",
                    tooltip="One crop per frame. A frame without the face is cut at the position of the nearest frame "
                    "that shows it.",
                ),
                FaceTrackSocket.Output(
                    display_name="track", tooltip="The track with the crop positions, for Mouth Mask and Paste Face."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, images: Tensor, track: Faces, model: ModelPatcher | FlashLips | None = None, align: bool = False
    ) -> io.NodeOutput:
        check_frames(images, track.track)
        if model is None:
            # As large in each shot as the face there, and scaled to the largest: a batch has one size.
            crops = Crops.of(track.track, REWRITE.crop_size, REWRITE.crop_scale, native=True, align=align)
            boxes = filled(crops.boxes, track.track)
            side = min(int(boxes[:, 2].max()), *REWRITE.crop_size)
            size, scaling = (side, side), NATIVE_SCALING
        else:
            spec = model.spec if isinstance(model, FlashLips) else spec_of(model)
            boxes, size, scaling = boxes_of(track.track, spec.crop_scale, align), spec.image_size, "bilinear"
        return io.NodeOutput(cut(images, boxes, size, scaling), replace(track, boxes=boxes, crop_size=size))


@contextmanager
def face_finder(detector: str, face_landmarks: Mapping[str, Any] | None, images: Tensor) -> Iterator[AddFrame]:
    """What finds the faces of a frame: the core's landmarks where they are linked, else the detector of that name."""
    if face_landmarks is not None:
        faces = read_face_landmarks(face_landmarks, images)
        yield lambda tracker, index, frame: tracker.add(frame, faces[index])
        return
    if detector == FROM_SOCKET:
        raise KeySyncError(
            f"nothing is connected to {FROM_SOCKET}: connect the core node Detect Face Landmarks (MediaPipe), or "
            f"choose the detector {' or '.join(DETECTORS)}"
        )
    with closing(make_detector(detector, detector_weights(), device=detector_device())) as found:
        yield lambda tracker, index, frame: tracker.follow(frame, found)


def read_face_landmarks(value: Mapping[str, Any], images: Tensor) -> list[list[Face]]:
    """The faces of each frame in a FACE_LANDMARKS value of the core's.

    It is {"frames": [[{"landmarks_xy": (478, 2), "score": float, ...}, ...], ...], "image_size": (h, w), ...}.
    Its points are the mesh's own coordinates times the picture's size, so pixels as in `keysync.face.face`. Raises
    `KeySyncError` where the value is of other frames.
    """
    frames, size = value["frames"], tuple(int(side) for side in value["image_size"])
    h, w = images.shape[1:3]
    if len(frames) != len(images) or size != (h, w):
        raise KeySyncError(
            f"face_landmarks covers {len(frames)} frames of {size[1]}x{size[0]} but there are {len(images)} images of "
            f"{w}x{h}: detect the landmarks on the same images"
        )
    return [[Face.of(_mesh(face)[list(MESH_TO_68)], face["score"]) for face in faces] for faces in frames]


def _mesh(face: Mapping[str, Any]) -> NDArray[np.float32]:
    mesh = np.asarray(face["landmarks_xy"], dtype=np.float32)
    if mesh.ndim != 2 or mesh.shape[1] != 2 or len(mesh) <= max(MESH_TO_68):
        raise KeySyncError(
            f"face_landmarks holds a face of {'x'.join(map(str, mesh.shape))} numbers but MediaPipe's mesh has 478x2: "
            "connect the core node Detect Face Landmarks (MediaPipe)"
        )
    return mesh


def clues_from(
    choice: FaceChoice, frames: int, fps: float, picture: Tensor | None, audio: AudioDict | None
) -> Clues | None:
    """What a choice by picture or by voice compares people with. Raises `KeySyncError` where its input is missing."""
    if choice.picture is not None:
        if picture is None:
            raise KeySyncError("face is picture but nothing is connected to picture: connect an image of the person")
        with closing(make_detector("mediapipe", device=detector_device())) as found:
            return Clues(look_in(as_bytes(picture[0]), "the picture", found))
    if choice.speaking:
        if audio is None:
            raise KeySyncError("face is speaking but nothing is connected to audio: connect the video's own sound")
        return Clues(None, said_in(open_sound(audio), np.arange(frames) / fps), fps)
    return None


def check_point(choice: FaceChoice, images: Tensor) -> None:
    """Raises `KeySyncError` where the chosen point lies outside the images."""
    h, w = images.shape[1:3]
    if choice.point is not None and not (choice.point[0] < w and choice.point[1] < h):
        x, y = choice.point
        raise KeySyncError(f"face_x {x}, face_y {y} is outside the images of {w}x{h}: choose a point on the face")


def check_distance(choice: FaceChoice, track: FaceTrack) -> Iterator[str]:
    """Notes, a line each, on shots whose face is further from the chosen point than it is large.

    Raises `KeySyncError` where that is so in every shot.
    """
    if choice.point is None:
        return
    x, y = choice.point
    distance = np.full(len(track.found), np.inf)
    near = np.zeros(len(track.found), dtype=np.bool_)
    for frame in np.flatnonzero(track.found).tolist():
        (x0, y0), (x1, y1) = (edge(track.landmarks[frame], 0) for edge in (np.min, np.max))
        distance[frame] = np.hypot(max(x0 - x, 0, x - x1), max(y0 - y, 0, y - y1))
        near[frame] = distance[frame] <= max(x1 - x0, y1 - y0)
    if not near.any():
        frame = int(distance.argmin())
        there = track.landmarks[frame].mean(0)
        raise KeySyncError(
            f"face_x {x}, face_y {y} is {distance[frame]:.0f} pixels from the nearest face, at {there[0]:.0f}, "
            f"{there[1]:.0f} in frame {frame}: choose a point on the face"
        )
    far = track.found & ~np.isin(track.shot, track.shot[near])
    if far.any():
        yield f"the nearest face is far from face_x {x}, face_y {y}: frames {name_frames(np.flatnonzero(far).tolist())}"


def follow(images: Tensor, add_frame: AddFrame, choice: FaceChoice, clues: Clues | None = None) -> FaceTrack:
    """The track of the chosen face through the images (n, h, w, c). Raises `KeySyncError` where none shows a face."""
    tracker = Tracker(looks=choice.through_cuts)
    for index in each_frame(len(images)):
        add_frame(tracker, index, as_bytes(images[index]))
    track = tracker.finish(choice, clues)
    if not track.found.any():
        raise KeySyncError(f"{no_face(track)}: use images that show a face from the front, or choose another detector")
    return track


def boxes_of(track: FaceTrack, scale: float = PUBLISHED_CROP_SCALE, align: bool = False) -> NDArray[np.int64]:
    """One box (x, y, side) a frame (n, 3), or (n, 4) if they are turned with the head: where the face is not seen, that
    of the nearest frame that shows it."""
    return filled(Crops.of(track, (1, 1), scale, align=align).boxes, track)


def filled(boxes: NDArray[np.int64], track: FaceTrack) -> NDArray[np.int64]:
    """Boxes (n, 3 or 4) of which those of frames without the face are those of the nearest frame that shows it."""
    seen, frames = np.flatnonzero(track.found), np.arange(len(boxes))
    after = np.searchsorted(seen, frames).clip(max=len(seen) - 1)
    before = (after - 1).clip(min=0)
    nearest = np.where(abs(seen[before] - frames) <= abs(seen[after] - frames), seen[before], seen[after])
    return np.asarray(boxes[nearest])


def preview(images: Tensor, track: FaceTrack, spec: StageSpec) -> Tensor:
    """The images (n, h, w, 3), no larger than `PREVIEW_SIDE`, with the face's points, a model's crop and mask, and the
    number of every face."""
    h, w = track.size
    shrink = min(1.0, PREVIEW_SIDE / max(h, w))
    # Sides that video encoders take are even.
    size = (h, w) if shrink == 1 else (max(2, round(h * shrink / 2) * 2), max(2, round(w * shrink / 2) * 2))
    drawn = torch.empty(len(images), *size, 3)
    for index, box in enumerate(boxes_of(track, spec.crop_scale)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        picture = as_bytes(images[index])
        faces = track.people[index] if track.people else None
        if track.found[index]:
            landmarks, side = track.landmarks[index], int(box[2])
            mask = MASKS[spec.mask](to_crop(landmarks, box, (side, side)), (side, side))
            picture = draw_track(picture, landmarks, box, mask, faces)
        else:
            picture = draw_track(picture, faces=faces)
        planes = torch.tensor(picture).permute(2, 0, 1)[None] / 255  # h w c -> 1 c h w
        drawn[index] = resize(planes, size)[0].permute(1, 2, 0)
    return drawn


def describe(track: FaceTrack) -> str:
    """What was found, a line each, for a person to read."""
    found = int(track.found.sum())
    lines = [f"the face was found in {found} of {len(track.found)} frames; shots: {int(track.shot[-1]) + 1}"]
    reasons: dict[str, list[int]] = {}
    for frame in np.flatnonzero(~track.found).tolist():
        reasons.setdefault(track.why_not(frame), []).append(frame)
    filled = np.flatnonzero(track.filled).tolist()
    for what, frames in {**reasons, "missed by the detector, position interpolated": filled}.items():
        if frames:
            lines.append(f"{what}: frames {name_frames(frames)}")
    return "\n".join(lines)


def cut(images: Tensor, boxes: NDArray[np.int64], size: tuple[int, int], scaling: str = "bilinear") -> Tensor:
    """The crops (n, H, W, 3) of the images (n, h, w, c) at one box each; `scaling` as in the library's `resize`."""
    crops = torch.empty(len(images), *size, 3)
    want_finite(images, "images")
    for index in each_frame(len(images)):
        crops[index] = crop(images[index, ..., :3].cpu(), boxes[index], size, scaling)
    return crops


NODES: list[type[io.ComfyNode]] = [TrackFace, CropFace]
