"""A dub of frames and sound that come in pieces of any size; dubbed frames go out soon after.

Frames are drawn in batches. A batch waits for the frames and the speech that are needed ahead, and for nothing else: so
many frames are held at most, and the same frames and sounds give the same result in whatever pieces they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import KeySyncError
from ..face.face import Detector
from ..face.masks import MASKS, is_empty
from ..face.paste import Place, paste
from ..face.track import FaceChoice
from ..media.channels import Block
from ..media.source import Frame
from ..method import FRAME_BY_FRAME
from ..network.precision import is_finite
from ..report import DUBBED, PASSED_THROUGH
from ..systems.renderer import Streaming
from .choices import BATCH
from .face import AROUND, LiveFace, Piece
from .hearing import LiveSpeech

LATE = "its turn came too late: the network does not keep up"


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame of the result: its `number` from 0, `seconds` as they were given, `picture` (h, w, 3) uint8, whether it
    was `DUBBED` or `PASSED_THROUGH`, and why."""

    number: int
    seconds: float
    picture: Frame
    state: str
    reason: str


class Live:
    """Dubs frames of `rate` a second as they come; the speech begins with the first frame.

    Add frames and sound in any pieces, and take what is `ready`. No frame is lost: each one added comes out, dubbed or
    with the reason why not. `mask`: a key of `MASKS`, None for the renderer's. Raises `KeySyncError` for rates that
    networks are not trained for, and for a choice of the face that needs the whole video.
    """

    def __init__(
        self,
        renderer: Streaming,
        detector: Detector,
        rate: float,
        *,
        choice: FaceChoice | None = None,
        sampling: Any = None,
        seed: int = 0,
        mask: str | None = None,
        batch: int = BATCH,
    ) -> None:
        slowest, fastest = FRAME_BY_FRAME
        if not slowest <= round(rate, 2) <= fastest:
            raise KeySyncError(
                f"the video has {rate:g} frames a second but a live dub takes {slowest} to {fastest}: "
                f"set the camera to {slowest + 5}, or convert the video"
            )
        if batch < 1:
            raise KeySyncError(f"a batch of {batch} frames: expected 1 or more", about="batch")
        needs = renderer.needs
        self._mask = mask or needs.mask or "mouth"
        if self._mask not in MASKS:
            raise KeySyncError(f"unknown mask {self._mask!r}: choose one of {', '.join(MASKS)}")
        self._face = LiveFace(detector, choice or FaceChoice(), needs)
        self._speech = {name: LiveSpeech(renderer.encoders[name]) for name in needs.encoders}
        self._stream = renderer.stream(sampling, seed)
        self._batch = batch
        self._held = deque[tuple[float, Frame]]()
        self._first, self._size = 0, (0, 0)
        self._ended = False

    @property
    def ahead(self) -> int:
        """How many frames must have come behind a batch before it is drawn."""
        return max(AROUND, self._stream.ahead)

    @property
    def most_held(self) -> int:
        """How many frames are held at most while the sound keeps up."""
        return self._batch + self.ahead

    @property
    def held(self) -> int:
        """How many frames wait."""
        return len(self._held)

    @property
    def first(self) -> int:
        """The number of the frame that comes out next."""
        return self._first

    def add_frame(self, frame: Frame, seconds: float) -> None:
        """Takes the next frame (h, w, 3) uint8, shown `seconds` after the first, which rise. Raises `KeySyncError`
        where its size changes, and for a time that does not rise."""
        size = frame.shape[0], frame.shape[1]
        if self._first + len(self._held) == 0:
            self._size = size
        if size != self._size:
            raise KeySyncError(
                f"a frame has {size[1]}x{size[0]} pixels after those of {self._size[1]}x{self._size[0]}: expected one "
                "size throughout; start anew"
            )
        if self._held and seconds <= self._held[-1][0]:
            raise KeySyncError(
                f"a frame at {seconds:g} s follows one at {self._held[-1][0]:g} s: expected rising times"
            )
        self._held.append((seconds, frame))

    def add_sound(self, block: Block, rate: int) -> None:
        """Takes the next samples (channels, n), -1..1, of `rate` a second; see `LiveSpeech.add`."""
        for speech in self._speech.values():
            speech.add(block, rate)

    def end_frames(self) -> None:
        """No more frames will come: those that are held need no more ahead."""
        self._ended = True

    def end_sound(self) -> None:
        """No more sound will come: silence follows."""
        for speech in self._speech.values():
            speech.end()

    @property
    def ready(self) -> bool:
        """Whether a batch can be drawn now."""
        return self.has_frames and all(
            speech.needs(self._held[self._known - 1][0]) <= speech.seconds for speech in self._speech.values()
        )

    @property
    def has_frames(self) -> bool:
        """Whether a batch has come, with what it needs ahead but for the sound."""
        return bool(self._held) and (self._ended or len(self._held) >= self.most_held)

    @property
    def _known(self) -> int:
        """How many frames are looked at for the next batch."""
        return min(len(self._held), self.most_held)

    def frames(self) -> Iterator[LiveFrame]:
        """Draws and yields what is ready."""
        while self.ready:
            yield from self.take()

    def take(self, *, draw: bool = True) -> list[LiveFrame]:
        """The next batch, for which frames have come, and which is `ready` if it is to be drawn; else its frames come
        out as they are. Raises `ValueError` where it has not come."""
        if not (self.ready if draw else self.has_frames):
            raise ValueError("the next batch has not come yet")
        count = min(self._batch, len(self._held))
        numbers = range(self._first, self._first + count)
        made = self._drawn(numbers) if draw else self._left_out(numbers)
        for _ in numbers:
            self._held.popleft()
        self._first = numbers.stop
        return made

    def _left_out(self, numbers: range) -> list[LiveFrame]:
        held = list(islice(self._held, len(numbers)))
        for _, frame in held[self._face.seen - numbers.start :]:
            self._face.leave_out(frame)
        self._stream.skip()
        return [
            LiveFrame(number, seconds, frame, PASSED_THROUGH, LATE)
            for number, (seconds, frame) in zip(numbers, held, strict=True)
        ]

    def _drawn(self, numbers: range) -> list[LiveFrame]:
        held = list(islice(self._held, self._known))
        for _, frame in held[self._face.seen - numbers.start :]:
            self._face.see(frame)
        piece = self._face.piece(numbers.start, numbers.stop)
        looks: dict[int, tuple[Tensor, Tensor]] = {}
        for place in np.flatnonzero(piece.track.found).tolist():
            mask = self._mask_of(piece, place)
            if not is_empty(mask):
                looks[numbers[place]] = piece.crops.cut(held[place][1], place), mask
        # By the frames that are asked for, as many as the stream hears ahead: others may still be on their way.
        heard = np.array([seconds for seconds, _ in held[: len(numbers) + self._stream.ahead]])
        speech = {name: said.rows(heard) for name, said in self._speech.items()}
        crops = self._stream.draw(numbers, speech, looks)
        return [
            self._finished(number, *held[place], piece, place, looks, crops.get(number))
            for place, number in enumerate(numbers)
        ]

    def _mask_of(self, piece: Piece, place: int) -> Tensor:
        landmarks = piece.crops.points(piece.track.landmarks[place], place)
        return MASKS[self._mask](landmarks, piece.crops.size_of(place))

    def _finished(
        self,
        number: int,
        seconds: float,
        frame: Frame,
        piece: Piece,
        place: int,
        looks: dict[int, tuple[Tensor, Tensor]],
        crop: Tensor | None,
    ) -> LiveFrame:
        if crop is None:
            found = piece.track.found[place]
            reason = "nothing to generate: the mask is empty" if found else piece.track.why_not(place)
            return LiveFrame(number, seconds, frame, PASSED_THROUGH, reason)
        if not is_finite(crop):
            raise KeySyncError(f"the picture for frame {number} holds numbers that are not finite: use other weights")
        where = Place.of(looks[number][1], piece.crops.boxes[place], self._size)
        picture = paste(frame, torch.as_tensor(crop), where, piece.crops.scaling)
        return LiveFrame(number, seconds, picture, DUBBED, "face found")
