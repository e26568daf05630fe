"""What was measured, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .leak import THRESHOLDS
from .verdict import verdict

if TYPE_CHECKING:
    from .figures import Figures, Measured, Row

# The figures in the order of a table: the name in JSON, what a person reads, and the digits after the point.
ROWS: dict[str, tuple[str, int]] = {
    "lag_frames": ("lag, frames (positive: the mouth is late)", 0),
    "lag_confidence": ("confidence of the lag", 2),
    "correlation": ("correlation with what the speech asks for", 2),
    "loudness_correlation": ("correlation with the loudness", 2),
    "correlation_over_loudness": ("the former less the latter", 2),
    "lipleak": ("LipLeak", 3),
    "silent_aspect_ratio": ("mean mouth aspect ratio in silence", 3),
    "silent_frames": ("frames of silence", 0),
    "aspect_ratio": ("mean mouth aspect ratio", 3),
    "jitter": ("jitter of the opening", 4),
    "jitter_over_source": ("jitter over the source's", 2),
    "source_correlation": ("correlation with the source's mouth", 2),
    "sharpness": ("sharpness of the mouth", 0),
    "sharpness_over_source": ("sharpness over the source's", 2),
    "seam": ("seam, 1 is unseen", 2),
    "colour_shift": ("colour shift of the skin, of 255", 1),
    "identity": ("identity, 1 is the same", 2),
    "outside_block": ("largest change outside, of 255", 1),
    "frames_seen": ("frames with the face", 0),
    "frames": ("frames", 0),
}
# What stands where there is nothing to measure.
NOTHING = "-"


def table(videos: Sequence[tuple[str, Figures]]) -> list[str]:
    """Lines with a row for each figure and a column for each video, by name; rows without any value are left out."""
    named = [name for name, _ in videos]
    rows = [["", *named]] if any(named) else []
    for key, (title, digits) in ROWS.items():
        values = [getattr(figures, key) for _, figures in videos]
        if any(value is not None for value in values):
            rows.append([title, *(NOTHING if value is None else f"{value:.{digits}f}" for value in values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths)).rstrip() for row in rows]


def as_dict(measured: Measured) -> dict[str, Any]:
    """The figures by name, the verdict, LipLeak by threshold, and the aspect ratio of each frame."""
    figures = measured.figures
    curve = zip(THRESHOLDS, measured.lipleak_curve, strict=False)
    return {
        "video": measured.video,
        "sound": measured.sound.name,
        "verdict": verdict(figures),
        **figures.to_dict(),
        "lipleak_by_threshold": {f"{threshold:g}": round(share, 4) for threshold, share in curve},
        "frame_seconds": _numbers(measured.times),
        "frame_aspect_ratios": _numbers(measured.mouths.ratio),
    }


def as_json(content: Any) -> str:
    """As text; bytes of a file's name that are not UTF-8 are escaped, as in the report of a dub."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The first cell from the left, the others from the right."""
    first, *rest = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]


def _numbers(row: Row) -> list[float | None]:
    return [None if value != value else round(value, 4) for value in row.tolist()]
