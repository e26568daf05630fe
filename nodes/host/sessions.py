"""Live dubs that go on from one run of a workflow to the next, by their names."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ...keysync.errors import KeySyncError
from ...keysync.face.face import Detector
from ...keysync.live.live import Live, LiveFrame
from ...keysync.media.source import as_bytes
from ...keysync.report import DUBBED

log = logging.getLogger(__name__)

# Sessions that are open at once at most, and seconds after which one that is not used is closed.
MOST, IDLE = 8, 600.0


class Session:
    """A live dub of `rate` frames a second with its sound, which goes out with the frames.

    `detector` is the dub's, and is closed with the session. `settings` are what it was begun with. `sound_rate` is 0
    before any sound has come; `used` is when a run took part.
    """

    def __init__(self, live: Live, detector: Detector, rate: float, settings: object) -> None:
        self.live, self.detector, self.rate, self.settings = live, detector, rate, settings
        self.sound_rate, self.used = 0, time.monotonic()
        self._added = 0
        self._made: list[LiveFrame] = []
        self._sound: Tensor | None = None  # what has not gone out, from sample `_sent` on
        self._sent = 0

    def add(self, images: Tensor, sound: Tensor | None, sound_rate: int) -> None:
        """Takes images (n, h, w, c), 0..1, and samples (channels, m) where there are any."""
        self.used = time.monotonic()
        for image in images:
            self.live.add_frame(as_bytes(image), self._added / self.rate)
            self._added += 1
        if sound is None or not sound.shape[1]:
            return
        if self._sound is not None and len(self._sound) != len(sound):
            raise KeySyncError(
                f"the audio has {len(sound)} channels after {len(self._sound)}: expected the same throughout"
            )
        self.live.add_sound(np.asarray(sound, np.float32), sound_rate)
        self._sound = sound if self._sound is None else torch.cat((self._sound, sound), 1)
        self.sound_rate = sound_rate

    def end(self) -> None:
        """No more will come."""
        self.live.end_frames()
        self.live.end_sound()

    def draw(self, on_batch: Callable[[], None]) -> list[LiveFrame]:
        """The frames that can be drawn now. What was drawn when `on_batch` raised comes out the next time."""
        while self.live.ready:
            self._made += self.live.take()
            on_batch()
        made, self._made = self._made, []
        return made

    def sound_of(self, frames: list[LiveFrame]) -> Tensor | None:
        """The samples (1, channels, m) that go with the next frames; silence where it has ended. None without any
        sound."""
        if self._sound is None:
            return None
        count = round((frames[-1].number + 1) / self.rate * self.sound_rate) - self._sent
        part, self._sound = self._sound[:, :count], self._sound[:, count:]
        self._sent += count
        return pad(part, (0, count - part.shape[1]))[None]

    def describe(self, frames: list[LiveFrame]) -> str:
        """What happened to these frames, and how many wait."""
        dubbed = sum(frame.state == DUBBED for frame in frames)
        lines = [f"{len(frames)} frames out, {dubbed} dubbed; {self.live.held} wait for later frames and sound"]
        reasons = dict.fromkeys(frame.reason for frame in frames if frame.state != DUBBED)
        for reason in reasons:
            count = sum(frame.reason == reason for frame in frames)
            lines.append(f"{count} unchanged: {reason}")
        return "\n".join(lines)


class Sessions:
    """The sessions by name."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}

    def get(self, name: str, settings: object, begin: Callable[[], Session], *, anew: bool) -> Session:
        """The session of this name, which is begun where there is none, or `anew`.

        Raises `KeySyncError` for one that was begun with other settings, and where too many are open.
        """
        self._close_idle()
        found = self._open.get(name)
        if anew and found is not None:
            if found.live.held:
                log.warning("the live session %s begins anew: %d frames that waited are dropped", name, found.live.held)
            self.close(name)
            found = None
        if found is not None and found.settings != settings:
            raise KeySyncError(
                f"the session {name!r} was begun with other settings or another model: set part to first to begin "
                "anew, or choose another name"
            )
        if found is None:
            if len(self._open) >= MOST:
                raise KeySyncError(
                    f"{MOST} sessions are open ({', '.join(self._open)}): run one of them with part set to last first"
                )
            found = self._open[name] = begin()
        return found

    def close(self, name: str) -> None:
        """Closes a session, if there is one of this name."""
        found = self._open.pop(name, None)
        if found is not None:
            found.detector.close()

    def _close_idle(self) -> None:
        for name, session in list(self._open.items()):
            if time.monotonic() - session.used > IDLE:
                log.warning("the live session %s was not used for %d minutes: it is closed", name, IDLE // 60)
                self.close(name)


SESSIONS = Sessions()
