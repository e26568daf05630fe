"""The whole path: video and speech in, dubbed frames out one by one, in memory that does not grow with the length.

The video is read three times and never held: once to follow the face (`job.survey`), once for the crops that the
network sees, which run ahead by one batch of keyframes, and once for the frames that the results are pasted into. A
renderer that surveys the source has one more pass before. The last two passes, the network, pasting and writing go on
at the same time, a thread each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice, pairwise, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .behind import Ahead, Behind, ahead
from .errors import KeySyncError, concerning
from .face.crop import Crops, crop
from .face.masks import MASKS, is_empty, subtract
from .face.paste import Place, grey, paste
from .face.track import FaceTrack
from .media.source import Frame, FrameSource, as_bytes
from .media.speech import SpeechPart
from .method import SAMPLE_RATE
from .network.precision import is_finite
from .provenance import Signing
from .report import DRAWING, DUBBED, ENCODING, PASSED_THROUGH, PASTING, Report
from .speech.activity import Pauses, pauses, quieted
from .speech.features import PORTION
from .speech.spool import SpooledFeatures, SpooledRows, spooled
from .systems.renderer import (
    Account,
    Foresighted,
    Given,
    Hearing,
    Later,
    Look,
    Renderer,
    Span,
    SpeechRows,
    Surveyor,
    Unchanged,
)
from .timeline import NetworkTimeline, Seconds, Timeline, network_times

# Times (n,) in seconds to values (n,).
Curve = Callable[[Seconds], NDArray[np.float64]]
# Ranges of frames that a note names one by one.
NAMED = 8
# Where the crops of a renderer without a mask are pasted.
DEFAULT_MASK = "mouth"
# A survey of the source looks at so many frames at most, evenly spread.
SURVEYED = 3000
# Bytes of drawn crops that wait to be pasted, and items that renderers make ahead: the encodings for a batch of
# keyframes.
DRAWN, MADE_AHEAD = 16 * 2**20, 169


@dataclass(frozen=True)
class Settings:
    """The user's choices.

    `mask` None: that of the system; `sampling`: the system's own settings, or those of several systems by name, None
    for its defaults; `controls`: curves by name, which give one value for each of n times in seconds; `provenance`:
    whether the result says in its file that its lips are synthetic, `signing` the key that signs it with C2PA;
    `quiet_mouth`: the mouth is closed wherever the speech pauses, whatever else sounds there; `align`: crops are turned
    with the head, so that the eyes are level.
    """

    sync_mode: str = "cut_off"
    mask: str | None = None
    seed: int = 0
    sampling: Any = None
    controls: Mapping[str, Curve] = field(default_factory=dict)
    provenance: bool = True
    signing: Signing | None = None
    quiet_mouth: bool = False
    align: bool = False

    def sampling_of(self, system: str) -> Any:
        """The settings of a system, where `sampling` holds those of several."""
        return self.sampling.get(system) if isinstance(self.sampling, Mapping) else self.sampling


@dataclass(frozen=True, eq=False)
class Occluder:
    """Masks as large as the source's frames, one for each or one for all: white where something covers the face."""

    source: FrameSource
    pts: NDArray[np.int64]

    @classmethod
    def open(cls, source: FrameSource, width: int, height: int, frames: int) -> Occluder:
        """Raises `KeySyncError` unless the masks have this size and number."""
        size = source.info.width, source.info.height
        if size != (width, height):
            raise KeySyncError(
                f"{source.name} is {size[0]}x{size[1]} but the video is {width}x{height}: "
                "draw the masks at the video's size"
            )
        pts = source.timestamps()
        if len(pts) not in (1, frames):
            raise KeySyncError(
                f"{source.name} has {len(pts)} frames but the video has {frames}: give one mask for each frame, or one "
                "for all"
            )
        return cls(source, pts)

    def pick(self, sources: Sequence[int]) -> Iterator[Frame]:
        """Yields the masks of these frames of the source, in any order."""
        if len(self.pts) > 1:
            yield from self.source.pick(self.pts, sources)
        elif sources:
            yield from repeat(next(self.source.pick(self.pts, [0])), len(sources))


@dataclass(frozen=True, eq=False)
class Heard:
    """What encoders made of a speech of so many `samples`, before it was known how much of it is used."""

    samples: int
    rows: Sequence[tuple[Hearing, SpeechRows]] = ()

    def of(self, encoder: Hearing, samples: int) -> SpeechRows | None:
        """What an encoder made of so much of the same speech; None where it heard more or less of it."""
        return next((rows for one, rows in self.rows if one is encoder and self.samples == samples), None)


NOTHING_HEARD = Heard(0)


@dataclass(frozen=True)
class Clip:
    """Output frames `start`..`stop` (exclusive) that show the chosen face in one shot, and when the network works."""

    start: int
    stop: int
    network: NetworkTimeline


def find_clips(track: FaceTrack, timeline: Timeline) -> list[Clip]:
    """The runs of the track as they appear in the result; a jump back (a loop that restarts) or a pause ends a clip."""
    run_of = np.full(len(track.found), -1)
    for number, (start, stop) in enumerate(track.runs()):
        run_of[start:stop] = number
    runs, steps = run_of[timeline.source], np.diff(timeline.source)
    breaks = np.flatnonzero((np.diff(runs) != 0) | (steps < -1)) + 1
    edges = [0, *np.union1d(breaks, timeline.pauses).tolist(), len(runs)]
    seconds, rate = timeline.times, timeline.moving_rate
    return [
        Clip(start, stop, network_times(seconds[start:stop], rate))
        for start, stop in pairwise(edges)
        if runs[start] >= 0
    ]


# A clip, its crops, and its drawn crops.
Begun = tuple[Clip, Iterator[tuple[Tensor, Tensor]], Iterator[Tensor | Unchanged | Later]]


def _bytes_of(drawn: Tensor | Unchanged | Later | None) -> int:
    """What a drawn crop holds while it waits."""
    return drawn.nbytes if isinstance(drawn, Tensor) else drawn.bytes if isinstance(drawn, Later) else 0


def merge(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (first, last) that overlap or touch as one, in order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def quiet_note(found: Pauses) -> str:
    """A note for the report of the pauses (start, stop) in seconds in which the mouth is closed."""
    if not found:
        return "quiet mouth: the speech has no pauses"
    parts = ", ".join(f"{start:.2f}-{stop:.2f} s" for start, stop in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"quiet mouth: the mouth is closed in the pauses of the speech: {parts}{more}"


def as_sequence(numbers: NDArray[np.int64]) -> Sequence[int]:
    """An array (n,) as a sequence of its numbers, which are not held one by one: of a long film there are many."""
    return np.ascontiguousarray(numbers).data


def surveyed(track: FaceTrack) -> list[int]:
    """The source's frames that a survey looks at: all that show the chosen face, or as many as it looks at."""
    found = np.flatnonzero(track.found)
    numbers: list[int] = found[:: -(-len(found) // SURVEYED) or 1].tolist()
    return numbers


# Surveys a source: takes the surveyor, what it looks at, what takes its notes, and the mask of the looks.
Survey = Callable[[Surveyor, Iterator[Look], Callable[[str], None], str], Renderer]


def survey(surveyor: Surveyor, looks: Iterator[Look], note: Callable[[str], None], mask: str) -> Renderer:
    """A survey of its own."""
    return surveyor.survey(looks, note)


class Dub:
    """One video, one speech, one face: everything known before the first network evaluation, then the frames.

    `evaluations` counts the network evaluations to run, `sampling` is the renderer's settings; `draw()` draws each
    frame of the result and fills `report` meanwhile. A renderer that does not need the source makes
    whole frames of crop size: nothing is pasted. A renderer that surveys the source does so here, `on_look` before each
    frame: it may raise to stop. Raises `KeySyncError` for an unknown mask and for controls that the renderer does not
    have.
    """

    def __init__(
        self,
        video: FrameSource,
        pts: NDArray[np.int64],
        track: FaceTrack,
        timeline: Timeline,
        voice: SpeechPart,
        renderer: Renderer,
        settings: Settings,
        report: Report,
        occluder: Occluder | None = None,
        on_look: Callable[[], None] = lambda: None,
        survey: Survey = survey,
        heard: Heard = NOTHING_HEARD,
    ) -> None:
        self.video, self.pts, self.track, self.timeline = video, pts, track, timeline
        self.settings, self.report, self.occluder = settings, report, occluder
        self._voice, self._heard = voice, heard
        self.clips = find_clips(track, timeline)
        self._overflows: dict[str, list[tuple[int, int]]] = {}
        self._smallest: dict[str, int] = {}
        self._said: list[dict[str, SpooledRows]] | None = None
        self._draw_with(renderer)
        if isinstance(renderer, Surveyor):
            with report.clock("survey"):
                self._draw_with(survey(renderer, self._survey(on_look), report.notes.append, self.mask))
        self.sampling = settings.sampling_of(self.renderer.system)
        self.evaluations = sum(self.renderer.evaluations(len(clip.network.times), self.sampling) for clip in self.clips)
        report.system, report.models = self.renderer.system, dict(self.renderer.origins)
        report.mask, report.network_evaluations = self.mask, self.evaluations

    def _draw_with(self, renderer: Renderer) -> None:
        """Takes a renderer with its mask and the places of its crops."""
        needs = renderer.needs
        self.renderer = renderer
        self.mask = self.settings.mask or needs.mask or DEFAULT_MASK
        if self.mask not in MASKS:
            raise KeySyncError(f"unknown mask {self.mask!r}: choose one of {', '.join(MASKS)}")
        foreign = self.settings.controls.keys() - set(needs.controls)
        if foreign:
            known = ", ".join(needs.controls) or "none"
            raise KeySyncError(f"unknown control {min(foreign)!r}: the system has {known}")
        self.crops = Crops.of(self.track, needs.crop_size, needs.crop_scale, needs.native, self.settings.align)

    @cached_property
    def _grey(self) -> bool:
        return self.video.facts().grey

    def draw_early(self, on_step: Callable[[int], None]) -> None:
        """Draws for a renderer that remembers it; nothing is decoded, pasted or written."""
        with closing(self._generated(on_step)) as shown:
            deque(shown, maxlen=0)

    def draw(
        self,
        write: Callable[[Frame, int], None],
        on_step: Callable[[int], None] | None = None,
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        """Draws each frame of the result: `write(frame, pts)` takes them in order, pts in `timeline.time_base`.

        The network runs here. Crops and originals are read ahead of it, frames are pasted behind it and written behind
        that, each in a thread of its own; no thread is left afterwards. `on_frame` is called here for each frame that
        was drawn: it may raise to stop, as `on_step` may.
        """
        waiting, sources = self.report.waiting, as_sequence(self.timeline.source)
        originals = ahead(self.video.pick(self.pts, sources), waited=partial(waiting, PASTING, "reading"))
        occluders = self._occluders(sources)

        def timed(frame: Frame, stamp: int) -> None:
            with self.report.clock("write"):
                write(frame, stamp)

        def finish(output: int, source: int, drawn: Tensor | Unchanged | Later | None) -> None:
            picture = self._checked(output, drawn.make()) if isinstance(drawn, Later) else drawn
            frame, state, reason = self._finished(next(originals), picture, source, next(occluders))
            self.report.add(output, source, state, reason)
            writing.run(timed, frame, int(self.timeline.pts[output]))

        with (
            closing(originals),
            closing(self._generated(on_step)) as shown,
            Behind(waited=partial(waiting, PASTING, "writing")) as writing,
            Behind(DRAWN, partial(waiting, DRAWING, "pasting and writing")) as pasting,
        ):
            for output, (source, drawn) in enumerate(zip(sources, shown, strict=True)):
                pasting.run(finish, output, source, drawn, weight=_bytes_of(drawn))
                on_frame()

    def _finished(
        self, original: Frame, picture: Tensor | Unchanged | None, source: int, occluder: Frame | None
    ) -> tuple[Frame, str, str]:
        """A frame of the result, what happened to it, and why."""
        if picture is None:
            return original, PASSED_THROUGH, self.track.why_not(source)
        if isinstance(picture, Unchanged):
            return original, PASSED_THROUGH, picture.reason
        if not self.renderer.needs.source:
            return as_bytes(picture), DUBBED, "generated from the picture"
        return self._paste(original, picture, source, occluder)

    def _paste(self, original: Frame, picture: Tensor, source: int, occluder: Frame | None) -> tuple[Frame, str, str]:
        with self.report.clock("paste"):
            picture, shown = picture[..., :3], picture[..., 3:]
            if self._grey:
                picture = grey(picture)
            mask = self._mask(source, occluder)
            if is_empty(mask):
                return (
                    original,
                    PASSED_THROUGH,
                    "nothing to generate: the mask is empty, or the occluder hides all of it",
                )
            box, size = self.crops.boxes[source], self.track.size
            place = Place.less(mask, box, size, shown[..., 0]) if shown.shape[-1] else Place.of(mask, box, size)
            frame = paste(original, picture, place, self.crops.scaling)
            if occluder is not None:
                # The mask has the crop's resolution: finer parts of the occluder are restored here.
                frame = np.where(occluder.mean(-1, keepdims=True) > 127.5, original, frame)
        filled = bool(self.track.filled[source])
        return frame, DUBBED, "face position interpolated: the detector missed it" if filled else "face found"

    def _generated(
        self, on_step: Callable[[int], None] | None
    ) -> Generator[Tensor | Unchanged | Later | None, None, None]:
        """For each output frame the generated crop (H, W, 3 or 4), 0..1, or None where there is no face to draw."""
        output = 0
        with closing(self._begun(on_step)) as begun:
            for clip, crops, drawn in begun:
                yield from (None for _ in range(clip.start - output))
                at: int = -1
                picture: Tensor | Unchanged | Later | None = None
                for frame, index in enumerate(as_sequence(clip.network.shown), start=clip.start):
                    while at < index:
                        at, picture = at + 1, next(drawn)
                        if isinstance(picture, Tensor):
                            self._checked(frame, picture)
                    yield picture
                deque(crops, maxlen=0)  # those that the renderer did not take
                output = clip.stop
        yield from (None for _ in range(len(self.timeline.source) - output))

    def _begun(self, on_step: Callable[[int], None] | None) -> Generator[Begun, None, None]:
        """Each clip with its crops and what draws it. The next clip is begun before one is drawn where the renderer
        makes items ahead: a cut does not stop the network."""
        renderer, waiting = self.renderer, self.report.waiting
        draw = renderer.begin(self.sampling, self.settings.seed, self.report.clock, on_step)
        early = isinstance(renderer, Foresighted) and renderer.beside
        reader = ENCODING if early else DRAWING
        begun = deque[Begun]()
        with (
            closing(ahead(self._looks(), waited=partial(waiting, reader, "crops"))) as looks,
            Ahead(MADE_AHEAD, partial(waiting, DRAWING, "encoding")) as made,
        ):
            for clip, said in zip(self.clips, self.listen(), strict=True):
                crops, numbers = islice(looks, len(clip.network.times)), self._sources(clip)
                span = Span(
                    len(clip.network.times),
                    crops,
                    said,
                    self._controls(clip),
                    self._account(clip),
                    int(self.track.shot[numbers[0]]),
                    numbers,
                    made.add,
                )
                begun.append((clip, crops, draw(span)))
                if len(begun) > int(early):
                    yield begun.popleft()
            yield from begun

    def _checked(self, frame: int, picture: Tensor) -> Tensor:
        """A picture for a frame of the result. Raises `KeySyncError` where it is not finite."""
        if not is_finite(picture):
            raise KeySyncError(f"the picture for frame {frame} holds numbers that are not finite: use other weights")
        return picture

    def _account(self, clip: Clip) -> Account:
        """Notes for the report which of the clip's frames were computed again, and what the renderer aims at."""
        return Account(
            partial(self._name, clip), partial(self._repaired, clip), self._smaller, partial(self._curve, clip)
        )

    def _output(self, clip: Clip, first: int, last: int) -> tuple[int, int]:
        """The frames of the result that show these network frames of a clip, or those that come next."""
        shown = clip.network.shown
        begin, end = int(np.searchsorted(shown, first)), int(np.searchsorted(shown, last, side="right")) - 1
        begin = min(begin, len(shown) - 1)
        return clip.start + begin, clip.start + max(begin, end)

    def _name(self, clip: Clip, first: int, last: int) -> str:
        first, last = self._output(clip, first, last)
        return f"frames {first}-{last}"

    def _repaired(self, clip: Clip, what: str, first: int, last: int) -> None:
        self._overflows.setdefault(what, []).append(self._output(clip, first, last))

    def _smaller(self, what: str, count: int) -> None:
        self._smallest[what] = min(count, self._smallest.get(what, count))

    def _curve(self, clip: Clip, name: str, first: int, values: Sequence[float]) -> None:
        """Enters the values of the network frames from `first` on for the frames of the result that show them."""
        shown, last = clip.network.shown, first + len(values) - 1
        if not 0 <= first <= last < len(clip.network.times):
            frames = len(clip.network.times)
            raise ValueError(f"the curve {name} covers frames {first}-{last} of a span of {frames}")
        row = self.report.curves.setdefault(name, [None] * len(self.timeline.source))
        for frame in np.flatnonzero((shown >= first) & (shown <= last)).tolist():
            row[clip.start + frame] = float(values[shown[frame] - first])

    def overflow_notes(self) -> Iterator[str]:
        """Notes of what half precision or the GPU's memory could not hold, a line for each model."""
        for what, count in self._smallest.items():
            yield f"the GPU's memory ran out in {what}: it worked in groups of {count} instead"
        for what, spans in self._overflows.items():
            merged = merge(spans)
            parts = ", ".join(f"{first}-{last}" for first, last in merged[:NAMED])
            more = f" and {len(merged) - NAMED} more ranges" if len(merged) > NAMED else ""
            yield f"half precision overflowed in {what}: frames {parts}{more} were computed again in float32"

    def _controls(self, clip: Clip) -> dict[str, Tensor]:
        """The value of each control at a clip's network times; 0 without a curve."""
        times = clip.network.times
        curves = {name: self.settings.controls.get(name, np.zeros_like) for name in self.renderer.needs.controls}
        controls = {name: torch.as_tensor(curve(times), dtype=torch.float32) for name, curve in curves.items()}
        for name, values in controls.items():
            if not is_finite(values):
                raise KeySyncError(f"the control {name} is not a finite number at every frame: correct its curve")
        return controls

    def listen(self, on_encoder: Callable[[], None] = lambda: None) -> list[dict[str, SpooledRows]]:
        """Speech features at each clip's network times; the encoders run here, once over the whole speech.

        `on_encoder` is called after each encoder that had not heard it yet: it may raise to stop.
        """
        if self._said is None:
            self._said = self._speech(on_encoder)
        return self._said

    @property
    def unheard(self) -> int:
        """How many encoders have still to hear the speech."""
        encoders = (self.renderer.encoders[name] for name in self.renderer.needs.encoders)
        return sum(self._heard.of(encoder, self._voice.samples) is None for encoder in encoders)

    def _speech(self, on_encoder: Callable[[], None]) -> list[dict[str, SpooledRows]]:
        if not self.clips:
            return []
        encoders = self.renderer.encoders
        features: dict[str, SpeechRows] = {}
        quiet = pauses(self._voice.read()) if self.settings.quiet_mouth else None
        seconds = self._voice.samples / SAMPLE_RATE
        for name in self.renderer.needs.encoders:
            early = self._heard.of(encoders[name], self._voice.samples)
            if early is None:
                with self.report.clock("speech"):
                    early = spooled(encoders[name].encode(self._voice.read()))
                on_encoder()
            # What does not hear the speech has no pauses.
            hears = not isinstance(encoders[name], Given)
            features[name] = quieted(encoders[name], early, quiet, seconds) if quiet and hears else early
        if quiet is not None:
            self.report.notes.append(quiet_note(quiet))
        self._heard = NOTHING_HEARD  # of a long film large, and not needed any more
        self._voice.speech.let_go()
        return [
            {name: SpooledRows(self._spoken(clip, name, rows)) for name, rows in features.items()}
            for clip in self.clips
        ]

    def _spoken(self, clip: Clip, name: str, rows: SpeechRows) -> Iterator[Tensor]:
        """The rows of an encoder at a clip's network times, part by part. Raises `KeySyncError` where they are not
        finite."""
        times = clip.network.times
        # Others may see what is around a frame.
        portion = PORTION if isinstance(rows, SpooledFeatures) else len(times)
        for start in range(0, len(times), portion):
            spoken = rows.at(times[start : start + portion])
            if not is_finite(spoken):
                raise KeySyncError(
                    f"the speech encoder {name} gives numbers that are not finite for "
                    f"{self._name(clip, start, start + len(spoken) - 1)}: use other weights",
                    about=name,
                )
            yield spoken

    def _sources(self, clip: Clip) -> Sequence[int]:
        """The source's frame that each network frame of a clip is cropped from."""
        return as_sequence(self.timeline.source[clip.start + clip.network.source])

    def _survey(self, on_look: Callable[[], None]) -> Iterator[Look]:
        """The source's frames that a survey looks at, in order."""
        numbers = surveyed(self.track)
        frames = zip(numbers, self.video.pick(self.pts, numbers), self._occluders(numbers), strict=True)
        for number, frame, occluder in frames:
            on_look()
            yield Look(
                number, int(self.track.shot[number]), self.crops.cut(frame, number), self._mask(number, occluder)
            )

    def _looks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Crop (H, W, 3), 0..1, and mask (H, W) of every network frame of every clip, in order."""
        parts = [self._sources(clip) for clip in self.clips]
        sources = as_sequence(np.concatenate(parts)) if parts else ()
        frames = zip(self.video.pick(self.pts, sources), self._occluders(sources), strict=True)
        for source in sources:
            with self.report.clock("crop"):
                frame, occluder = next(frames)
                look = self.crops.cut(frame, source), self._mask(source, occluder)
            yield look

    def _mask(self, source: int, occluder: Frame | None) -> Tensor:
        """Where the mouth is generated anew, at the crop's resolution: (H, W), 0 or 1."""
        size = self.crops.size_of(source)
        mask = MASKS[self.mask](self.crops.points(self.track.landmarks[source], source), size)
        if occluder is None:
            return mask
        hidden = crop(occluder, self.crops.boxes[source], size).mean(-1) > 0.5
        return subtract(mask, hidden.float())

    def _occluders(self, sources: Sequence[int]) -> Iterator[Frame | None]:
        if self.occluder is None:
            yield from repeat(None, len(sources))
            return
        with concerning("occluder"):
            yield from self.occluder.pick(sources)
