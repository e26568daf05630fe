"""Tracking what hides a face: a prompt on one frame in, a mask of every frame out, by SAM 2 through transformers.

The clip is tracked forwards from the prompt's frame, then backwards from it. A session keeps of the past only what the
model looks back on, so memory is flat in the clip's length. Frames are (h, w, 3) in 0..1, masks (h, w).
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

# Colours of ImageNet, which the backbone was trained on.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What SAM 2 calls its points: off the object, on it, and the corners of a box.
OFF, ON, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
OBJECT = 1


class Frames(Protocol):
    """A clip's frames (h, w, 3) by their number: an IMAGE batch (n, h, w, 3), or anything that reads one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Prompt:
    """Where the object is on one frame, in pixels: points on it (label 1) or off it (0), a box (x0, y0, x1, y1)."""

    frame: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    @classmethod
    def read(cls, frame: int, points: str = "", box: str = "") -> Prompt:
        """A prompt of what somebody typed: a point "x,y" on each line, "-x,y" for one off the object; "x0,y0,x1,y1".

        Raises `KeySyncError` for a line that is none.
        """
        lines = [line.strip() for line in points.splitlines() if line.strip()]
        places = [_numbers(line.removeprefix("-"), 2, f'point {line!r}: "x,y" was wanted, or "-x,y"') for line in lines]
        corners = _numbers(box, 4, f'box {box.strip()!r}: "x0,y0,x1,y1" was wanted') if box.strip() else None
        return cls(
            frame,
            tuple((x, y) for x, y in places),
            tuple(OFF if line.startswith("-") else ON for line in lines),
            (corners[0], corners[1], corners[2], corners[3]) if corners else None,
        )


def track_occluder(model: Any, frames: Frames, prompt: Prompt) -> Iterator[tuple[int, Tensor]]:
    """Number and mask (h, w) bool of every frame of a clip: from the prompt's to the last, then back to the first.

    `model` is what `load_sam2` gives; it works on its own device. Masks are on the CPU.
    Raises `KeySyncError` before the first frame for a prompt that is empty or lies outside the clip or the picture.
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
    """The masks of frames in the order of tracking; the prompt is on the first."""
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
    """Drops the pixels of this step, and the step that the next one does not look back on any more."""
    session.processed_frames.pop(step)
    past = step + 1 - max(config.num_maskmem, config.max_object_pointers_in_encoder)
    session.output_dict_per_obj[place]["non_cond_frame_outputs"].pop(past, None)
    session.frames_tracked_per_obj[place].pop(past, None)


def _pixels(frame: Tensor, size: int) -> Tensor:
    """A frame as the model sees it: stretched to a square, (1, 3, size, size)."""
    image = frame[..., :3].permute(2, 0, 1)[None].float()  # HWC -> BCHW
    image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return (image - image.new_tensor(MEAN)[:, None, None]) / image.new_tensor(STD)[:, None, None]


def _points(prompt: Prompt, frame: Tensor, size: int) -> dict[str, Tensor]:
    """The prompt in the square's pixels, as transformers takes it: points (1, 1, p, 2) and labels (1, 1, p)."""
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
        raise KeySyncError(f"the prompt is on frame {prompt.frame} but the clip has {count}: choose 0 to {count - 1}")
    if len(prompt.points) != len(prompt.labels) or not set(prompt.labels) <= {OFF, ON}:
        raise KeySyncError(f"{len(prompt.points)} points have labels {prompt.labels}: one 0 or 1 each was wanted")
    if ON not in prompt.labels and not prompt.box:
        raise KeySyncError("the prompt shows no object: give a point on it or a box around it")
    height, width = frames[prompt.frame].shape[:2]
    for x, y in prompt.points:
        if not (0 <= x < width and 0 <= y < height):
            raise KeySyncError(
                f"point {x:g},{y:g} is outside the picture of {width}x{height}: give one inside, in pixels"
            )
    if prompt.box:
        x0, y0, x1, y1 = prompt.box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise KeySyncError(
                f"box {x0:g},{y0:g},{x1:g},{y1:g} does not lie in the picture of {width}x{height}: "
                "left, top, right and bottom in pixels were wanted"
            )


def _numbers(text: str, count: int, problem: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise KeySyncError(problem) from error
    if len(numbers) != count:
        raise KeySyncError(problem)
    return numbers
