"""Notes of a dub's report, a line each: on lengths and rates, on damage, and on what the result lacks of its source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .dub import Settings
from .face.crop import Crops
from .media.audio import AudioReader
from .media.extras import Kept
from .media.info import BT2020_PRIMARIES, IN_MEMORY, VideoInfo
from .media.source import Facts, FrameSource, SoundSource
from .method import FRAME_BY_FRAME, NETWORK_RATE, SAMPLE_RATE
from .speech.encoder import ONE_PASS, WINDOW
from .systems.renderer import Remarking, Renderer
from .timeline import PAUSE, Timeline

# Sound that begins so many seconds beside the picture of its file is noted: less is not seen, and encoders add as much.
AUDIBLE_LEAD = 0.08
LOSSLESS_NOTE = "the lossless result is Matroska, which keeps timestamps to the millisecond"


def job_notes(
    source: FrameSource,
    pts: NDArray[np.int64],
    speech: SoundSource,
    audio_seconds: float,
    timeline: Timeline,
    lossless: bool,
    renderer: Renderer,
    settings: Settings,
    crops: Crops,
    kept: Kept,
) -> Iterator[str]:
    """Notes for the user on this job, a line each."""
    trained = renderer.needs.mask
    if trained is not None and settings.mask not in (None, trained):
        yield f"the models were trained with the mask {trained}; this job uses the mask {settings.mask}"
    if settings.align:
        yield (
            _note_on_align(crops) if renderer.needs.source else "align has no effect: no crop is cut out of the source"
        )
    if isinstance(renderer, Remarking):
        yield from renderer.remarks(settings.sampling_of(renderer.system))
    if renderer.needs.source:
        yield from _notes_on_time(source, pts, audio_seconds, timeline)
        yield from _notes_on_damage(source.facts())
    yield from _notes_on_lead(speech)
    yield from _notes_on_picture(source.info, lossless)
    if kept.lost:
        yield f"the result is without {'; '.join(kept.lost)}"
    if lossless and (source.path is None or source.path.suffix.lower() != ".mkv"):
        yield LOSSLESS_NOTE
    if timeline.seconds * SAMPLE_RATE > ONE_PASS:
        yield (
            f"the speech is longer than {ONE_PASS // SAMPLE_RATE} s: its features come from windows of "
            f"{WINDOW // SAMPLE_RATE} s and differ by some percent from those of one pass"
        )


def _note_on_align(crops: Crops) -> str:
    """A note on how far the crops are turned."""
    degrees = crops.rolls
    if not len(degrees):
        return "align: there is no crop to turn"
    low, high = round(degrees.min()), round(degrees.max())
    return f"align: the crops are turned with the head, by {low if low == high else f'{low} to {high}'} degrees"


def _notes_on_time(
    source: FrameSource, pts: NDArray[np.int64], audio_seconds: float, timeline: Timeline
) -> Iterator[str]:
    """Notes on lengths, rate and pauses."""
    facts, time_base = source.facts(), source.info.time_base
    video_seconds = float((int(pts[-1] - pts[0]) + facts.last_duration) * time_base)
    if abs(audio_seconds - video_seconds) > 1 / NETWORK_RATE:
        lengths = f"the video lasts {video_seconds:.2f} s, the speech {audio_seconds:.2f} s"
        yield f"{lengths}, the result {timeline.seconds:.2f} s"
    if facts.promised is not None:
        yield (
            f"the video's header gives it {facts.promised:.2f} s but the last picture begins at "
            f"{float(int(pts[-1] - pts[0]) * time_base):.2f} s: the header is not followed"
        )
    if facts.new_clocks:
        times = "once" if facts.new_clocks == 1 else f"{facts.new_clocks} times"
        yield f"the video's timestamps begin anew {times}: its pictures go on without a gap"
    slowest, fastest = FRAME_BY_FRAME
    rate = float(timeline.moving_rate)
    if not slowest <= round(rate, 2) <= fastest:
        yield f"{rate:.3g} frames a second: the network works at 25 and each frame takes the nearest"
    still_for = np.diff(timeline.times, append=timeline.seconds)
    pauses = np.flatnonzero(still_for > PAUSE)
    if len(pauses):
        longest = pauses[np.argmax(still_for[pauses])]
        yield (
            f"the video stands still {len(pauses)} {'time' if len(pauses) == 1 else 'times'} for longer than "
            f"{PAUSE:.0f} s ({still_for[longest]:.2f} s from {timeline.times[longest]:.2f} s on): the lips do not move "
            "there"
        )


def _notes_on_lead(speech: SoundSource) -> Iterator[str]:
    """A note where the speech is a video file whose sound does not begin with its picture."""
    lead = speech.lead if isinstance(speech, AudioReader) else 0.0
    if lead >= AUDIBLE_LEAD:
        yield f"the sound of {speech.name} begins {lead:.2f} s after its first picture: the speech starts with silence"
    elif lead <= -AUDIBLE_LEAD:
        yield f"the sound of {speech.name} begins {-lead:.2f} s before its first picture: that part is left out"


def _notes_on_damage(facts: Facts) -> Iterator[str]:
    """Notes on what the decoder had to patch up or leave out."""
    if facts.damaged:
        frames = "1 frame" if facts.damaged == 1 else f"{facts.damaged} frames"
        yield f"the video is damaged: {frames} could be decoded only in part, the first at {facts.first_damage:.2f} s"
    if facts.undecoded:
        frames = "1 frame" if facts.undecoded == 1 else f"{facts.undecoded} frames"
        yield f"the video is damaged: {frames} could not be decoded and are missing"


def _notes_on_picture(info: VideoInfo, lossless: bool) -> Iterator[str]:
    """Notes on what the result's picture lacks of the source's."""
    kind = ", ".join([info.colours.hdr] * info.hdr + ["BT.2020"] * (info.colours.primaries == BT2020_PRIMARIES))
    kept = "keeps these colours and lacks data for HDR displays"
    if info.bits > 8:
        words = f" ({kind})" if kind else ""
        yield f"the video has {info.bits} bits a colour{words}: the result has 8{f', {kept}' if info.hdr else ''}"
    elif info.hdr:
        yield f"the video is HDR ({kind}): the result {kept}"
    if info.alpha:
        yield "the video has an alpha channel: the result has no transparency"
    if info.captions:
        yield "the video has closed captions: the result has none"
    if lossless:
        if info.lost_field_order:
            yield "the video is interlaced and turned: the result is progressive"
        return
    if info.lost_field_order or (info.field_order and not info.keeps_fields()):
        why = "turned" if info.lost_field_order else f"{info.height} rows high"
        yield f"the video is interlaced and {why}: the result is marked as progressive, so deinterlace the video first"
    if info.h264_pixels == "yuv444p" and info.full_chroma:
        yield f"the video has {info.sampling} colour: the result keeps it as 4:4:4, which some players cannot show"
    elif info.sampling not in ("4:2:0", "grey", IN_MEMORY) and info.h264_pixels == "yuv420p":
        yield f"the video has {info.sampling} colour: the result has 4:2:0, a colour for four pixels"
