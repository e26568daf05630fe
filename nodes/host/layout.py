"""How a clip of n frames is cut up into b windows of t slots, and which of them come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...keysync.systems.keysync.plan import Plan


@dataclass(frozen=True)
class Layout:
    """Which frame each slot of the windows shows, (b, t), and where what is asked for lies among all slots, (k,)."""

    slots: Tensor
    wanted: Tensor


def keyframe_layout(plan: Plan) -> Layout:
    """The batches of keyframes, and the slots of the keyframes in order."""
    wanted = [
        batch * plan.window + 1 + place
        for batch in range(len(plan.batches))
        for place in range(len(plan.fresh_keyframes(batch)))
    ]
    return Layout(_slots(plan, plan.batches), torch.tensor(wanted))


def frame_layout(plan: Plan) -> Layout:
    """The windows between keyframes, and the slots of the frames in order, each frame once."""
    windows = [tuple(range(first, last + 1)) for first, last in plan.windows]
    places = [(max(0, frame - 1) // plan.step, frame) for frame in range(plan.frames)]
    wanted = [window * plan.window + frame - window * plan.step for window, frame in places]
    return Layout(_slots(plan, windows), torch.tensor(wanted))


def window_layout(plan: Plan) -> Layout:
    """The windows between keyframes, and all of their slots that show a frame: a frame that two windows share comes
    out of both."""
    windows = [tuple(range(first, last + 1)) for first, last in plan.windows]
    return Layout(_slots(plan, windows), torch.arange(plan.frames + len(windows) - 1))


def _slots(plan: Plan, windows: Any) -> Tensor:
    return torch.tensor([[plan.index(frame) for frame in window] for window in windows])
