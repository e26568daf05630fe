"""The figures of a video in one sentence, with its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .leak import OPEN

if TYPE_CHECKING:
    from .figures import Figures

# A mouth follows its speech from this correlation on: of people who do not speak it is 0.16 in the mean, and of those
# who do 0.45 to 0.98. A lag counts as known from this confidence on.
FOLLOWS, SURE = 0.3, 0.9
# Frames of lag that are in sync, and frames with a face below which a verdict would be a guess.
IN_SYNC, FEWEST = 1, 25
# A shift of the skin's colour (levels) and a seam that are worth a word.
SHIFT, SEAM = 8.0, 1.15
# Fewer frames of silence are not worth a word.
FEWEST_SILENT = 10


def verdict(figures: Figures) -> str:
    """What the figures say, what they were taken from, and what they cannot tell."""
    parts = [_sync(figures), *_silence(figures), *_picture(figures)]
    seen = f"judged on the one face seen in {figures.frames_seen} of {figures.frames} frames"
    return f"{'; '.join(parts)}; {seen} and on what KeySync hears, English best: a guide, no proof."


def _sync(figures: Figures) -> str:
    if figures.frames_seen < FEWEST:
        return f"Too little is seen to judge the sync: {figures.frames_seen} frames with a face, {FEWEST} needed"
    if figures.silent_throughout:
        return "The sound is silent, so there is no sync to judge"
    if figures.lag_frames is None or figures.correlation is None or figures.lag_confidence is None:
        return "The mouth or the sound does not change, so there is no sync to judge"
    why = f"correlation {figures.correlation:.2f}, confidence {figures.lag_confidence:.2f}"
    if figures.correlation < FOLLOWS:
        return f"No sync found: the mouth does not follow the speech ({why})"
    if figures.lag_confidence < SURE:
        return f"Unsure: the mouth follows the speech in part, and its lag is not certain ({why})"
    lag = figures.lag_frames
    if abs(lag) <= IN_SYNC:
        return f"In sync: the mouth follows the speech within a frame ({why})"
    frames, milliseconds = abs(lag), abs(figures.lag_seconds or 0) * 1000
    return f"Out of sync: the mouth is {frames} frames ({milliseconds:.0f} ms) {'late' if lag > 0 else 'early'} ({why})"


def _silence(figures: Figures) -> list[str]:
    if figures.lipleak is None or figures.silent_frames < FEWEST_SILENT:
        return []
    where = "of the frames" if figures.silent_throughout else f"of the {figures.silent_frames} frames of silence"
    return [f"the mouth is open in {figures.lipleak:.0%} {where} (aspect ratio above {OPEN})"]


def _picture(figures: Figures) -> list[str]:
    if figures.outside_block is None:
        return []
    parts = []
    if figures.colour_shift is not None and figures.colour_shift > SHIFT:
        parts.append(f"the skin around the mouth is off by {figures.colour_shift:.0f} of 255 levels")
    if figures.seam is not None and figures.seam > SEAM:
        parts.append(f"the border of the mask shows (seam {figures.seam:.2f})")
    return [*parts, _outside(figures)]


def _outside(figures: Figures) -> str:
    if not figures.outside_largest:
        return "nothing changed outside the mask"
    if figures.unchanged_outside:
        return "outside the mask nothing changed that can be seen"
    return f"the picture changed outside the mask, by up to {figures.outside_block:.0f} of 255 levels"
