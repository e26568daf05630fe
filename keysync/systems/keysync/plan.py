"""The plan of a clip: which frames are keyframes, how they are batched, which windows lie between (paper §3.3).

Everything is frame indices. With windows of 14 frames a keyframe stands at 0, 13, 26, …; neighbouring windows share
one. Keyframes are generated 14 at a time: the anchor, frame 0, and 13 new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import KeySyncError


@dataclass(frozen=True)
class Plan:
    """What is generated for a clip of `frames` frames, by windows of `window` frames.

    The clip is extended by repeating its last frame until windows cover it: indices from `frames` up to `padded` stand
    for the last frame (`index`), and what is generated for them is dropped. Raises `KeySyncError` for a clip without
    frames.
    """

    frames: int
    window: int = 14

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise KeySyncError(f"a clip of {self.frames} frames: at least 1 is needed")
        if self.window < 2:
            raise KeySyncError(f"a window of {self.window} frames: at least 2 are needed")

    @property
    def step(self) -> int:
        """Frames from one keyframe to the next; also the new keyframes of one batch."""
        return self.window - 1

    @property
    def padded(self) -> int:
        """Frames that are generated: a whole number of steps and one, at least one window."""
        return max(1, -(-(self.frames - 1) // self.step)) * self.step + 1

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Every keyframe, the first frame of the clip among them."""
        return tuple(range(0, self.padded, self.step))

    @property
    def batches(self) -> tuple[tuple[int, ...], ...]:
        """The `window` slots of each keyframe batch: the anchor, the new keyframes, copies of the last keyframe."""
        return tuple(self._batch(number) for number in range(-(-len(self.keyframes) // self.step)))

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """First and last frame of every window, both keyframes."""
        return tuple(window for number in range(len(self.batches)) for window in self.batch_windows(number))

    def index(self, frame: int) -> int:
        """The frame of the clip that stands at this index of the extended clip."""
        return min(frame, self.frames - 1)

    def fresh_keyframes(self, batch: int) -> tuple[int, ...]:
        """The keyframes that a batch generates; they stand in its slots 1, 2, …"""
        span = self.step * self.step
        return tuple(range(batch * span, min((batch + 1) * span, self.padded), self.step))

    def batch_windows(self, batch: int) -> tuple[tuple[int, int], ...]:
        """The windows that can be generated once this batch is, and could not before: those that end in it."""
        return tuple((last - self.step, last) for last in self.fresh_keyframes(batch) if last)

    def evaluations(self, of_batch: int, of_window: int) -> int:
        """Network evaluations of the clip, with so many for every batch of keyframes and for every window."""
        return of_batch * len(self.batches) + of_window * len(self.windows)

    def _batch(self, number: int) -> tuple[int, ...]:
        fresh = self.fresh_keyframes(number)
        return (0, *fresh, *(fresh[-1:] * (self.step - len(fresh))))
