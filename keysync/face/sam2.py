"""Tracks an occluder with transformers' SAM 2: from a prompt on one frame to a mask for every frame.

The clip is tracked forwards from the prompt's frame, then backwards. A session keeps only the frames that the model
attends to, so memory is independent of the clip's length. Frames are (h, w, 3) in 0..1, masks (h, w).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import KeySyncError
from .sam2_weights import import_transformers, load_sam2

__all__ = ["Frames", "Prompt", "load_sam2", "track_occluder"]

# Mean and standard deviation of ImageNet's colours, which the backbone was trained on.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# SAM 2's labels of points: off the object, on it, and the corners of a box.
OFF, ON, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
OBJECT = 1


class Frames(Protocol):
    """The frames (h, w, 3) of a clip by number: an IMAGE batch (n, h, w, 3), or a reader of single frames."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Prompt:
    """The object's position in one frame, in pixels: points on it (label 1) or off it (0), a box (x0, y0, x1, y1)."""

    frame: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    @classmethod
    def read(cls, frame: int, points: str = "", box: str = "") -> Prompt:
        """Parses a prompt: one point "x,y" per line, "-x,y" for a point off the object, and a box "x0,y0,x1,y1".

        Raises `KeySyncError` for a line in another format.
        """
        lines = [line.strip() for line in points.splitlines() if line.strip()]
        places = [
            _numbers(line.removeprefix("-"), 2, f'invalid point {line!r}: expected "x,y" or "-x,y"') for line in lines
        ]
        corners = _numbers(box, 4, f'invalid box {box.strip()!r}: expected "x0,y0,x1,y1"') if box.strip() else None
        return cls(
            frame,
            tuple((x, y) for x, y in places),
            tuple(OFF if line.startswith("-") else ON for line in lines),
            (corners[0], corners[1], corners[2], corners[3]) if corners else None,
        )


def track_occluder(model: Any, frames: Frames, prompt: Prompt) -> Iterator[tuple[int, Tensor]]:
    """Yields number and mask (h, w) bool of every frame: from the prompt's frame to the last, then back to the first.

    `model` is the result of `load_sam2`, on any device. Masks are on the CPU.
    Raises `KeySyncError` before the first frame for a prompt that is empty or outside the clip or the frame.
    """
    _check(frames, prompt)
    return _both_ways(model, frames, prompt)


def _both_ways(model: Any, frames: Frames, prompt: Prompt) -> Iterator[tuple[int, Tensor]]:
    for numbers in (range(prompt.frame, len(frames)), range(prompt.frame, -1, -1)):
        backwards = numbers.step < 0
        if backwards and len(numbers) == 1:
            return
        masks = _track(model, (frames[number] for number in numbers), prompt)
        for number, mask in zip(numbers, masks, strict=True):
            if not (backwards and number == prompt.frame):
                yield number, mask


def _track(model: Any, frames: Iterable[Tensor], prompt: Prompt) -> Iterator[Tensor]:
    """Yields the masks of frames in the order of tracking; the prompt applies to the first."""
    session = _session(model)
    place = session.obj_id_to_idx(OBJECT)
    for step, frame in enumerate(frames):
        if step == 0:
            session.add_point_inputs(place, 0, _points(prompt, frame, model.config.image_size))
            session.obj_with_new_inputs = [OBJECT]
        pixels = _pixels(frame.to(model.device), model.config.image_size)
        logits = model(inference_session=session, frame=pixels, frame_idx=step).pred_masks
        _forget(session, place, step, model.config)
        mask = F.interpolate(logits.float(), frame.shape[:2], mode="bilinear")[0, 0] > 0
        yield mask.cpu()


def _session(model: Any) -> Any:
    import_transformers()
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    device = model.device
    return Sam2VideoInferenceSession(
        inference_device=device, inference_state_device=device, video_storage_device=device, dtype=model.dtype
    )


def _forget(session: Any, place: int, step: int, config: Any) -> None:
    """Drops the pixels of this step, and the oldest step that the next one no longer attends to."""
    session.processed_frames.pop(step)
    past = step + 1 - max(config.num_maskmem, config.max_object_pointers_in_encoder)
    session.output_dict_per_obj[place]["non_cond_frame_outputs"].pop(past, None)
    session.frames_tracked_per_obj[place].pop(past, None)


def _pixels(frame: Tensor, size: int) -> Tensor:
    """A frame as the model's input: stretched to a square and normalised, (1, 3, size, size)."""
    image = frame[..., :3].permute(2, 0, 1)[None].float()  # HWC -> BCHW
    image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return (image - image.new_tensor(MEAN)[:, None, None]) / image.new_tensor(STD)[:, None, None]


def _points(prompt: Prompt, frame: Tensor, size: int) -> dict[str, Tensor]:
    """The prompt in pixels of the square, in transformers' format: points (1, 1, p, 2) and labels (1, 1, p)."""
    corners = (prompt.box[:2], prompt.box[2:]) if prompt.box else ()
    labels = [TOP_LEFT, BOTTOM_RIGHT] * bool(prompt.box) + list(prompt.labels)
    height, width = frame.shape[:2]
    points = torch.tensor([*corners, *prompt.points]) * torch.tensor([size / width, size / height])
    return {
        "point_coords": points[None, None],
        "point_labels": torch.tensor(labels, dtype=torch.int32)[None, None],
    }


def _check(frames: Frames, prompt: Prompt) -> None:
    count = len(frames)
    if not 0 <= prompt.frame < count:
        raise KeySyncError(
            f"the prompt is on frame {prompt.frame} but the clip has {count} frames: choose 0 to {count - 1}"
        )
    if len(prompt.points) != len(prompt.labels) or not set(prompt.labels) <= {OFF, ON}:
        raise KeySyncError(f"{len(prompt.points)} points have labels {prompt.labels}: expected one 0 or 1 per point")
    if ON not in prompt.labels and not prompt.box:
        raise KeySyncError("the prompt selects no object: add a point on the object or a box around it")
    height, width = frames[prompt.frame].shape[:2]
    for x, y in prompt.points:
        if not (0 <= x < width and 0 <= y < height):
            raise KeySyncError(
                f"point {x:g},{y:g} is outside the frame of {width}x{height} pixels: choose a point inside"
            )
    if prompt.box:
        x0, y0, x1, y1 = prompt.box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise KeySyncError(
                f"box {x0:g},{y0:g},{x1:g},{y1:g} is not inside the frame of {width}x{height} pixels: "
                "expected left, top, right and bottom in pixels"
            )


def _numbers(text: str, count: int, problem: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise KeySyncError(problem) from error
    if len(numbers) != count:
        raise KeySyncError(problem)
    return numbers
