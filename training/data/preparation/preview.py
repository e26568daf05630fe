"""A contact sheet of a preparation: a row of pictures for each clip that was kept, and for each that was dropped.

A kept clip is shown as training sees it, a dropped one as it was found: its crops if a face was followed, otherwise
frames of the whole video.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from keysync.errors import KeySyncError
from keysync.face.crop import crop
from keysync.media.reader import VideoReader
from keysync.method import NETWORK_RATE

from ..disk import disk, written
from .chain import Chain, Record
from .faces import Faces
from .settings import Settings
from .videos import Range, Video

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COLUMNS, SIDE, LINE = 8, 96, 18
# Rows for clips that were kept, and for those that were dropped.
MOST = 40
KEPT, DROPPED, PAPER = (20, 110, 50), (170, 40, 30), (255, 255, 255)

Pictures = list[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Entry:
    """A row: what stands above it, whether the clip was kept, and up to `COLUMNS` pictures (SIDE, SIDE, 3)."""

    title: str
    kept: bool
    pictures: Pictures


def check_preview(path: Path) -> None:
    """Raises `KeySyncError` for a file that cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise KeySyncError(f"cannot write a contact sheet as {path.name}: expected {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise KeySyncError(f"{path.parent} does not exist: name a contact sheet in an existing folder")


def entries(chain: Chain, videos: Sequence[Video], settings: Settings, failed: Mapping[str, str]) -> Iterator[Entry]:
    """The rows of these videos, up to `MOST` of either kind; `failed` gives the reasons by id."""
    found = [row for video in videos for row in _rows(chain, video, failed.get(video.id, ""))]
    for kept in (True, False):
        chosen = [row for row in found if row.kept is kept]
        for row in islice(chosen, MOST):
            yield Entry(row.title, kept, row.pictures(settings))


def write_preview(path: Path, rows: Iterator[Entry]) -> None:
    """Writes the rows as one picture. Raises `KeySyncError` if the file cannot be written."""
    strips = [_strip(row) for row in rows] or [_strip(Entry("no clips", False, []))]
    with disk(path), written(path) as part:
        Image.fromarray(np.concatenate(strips)).save(part, format=FORMATS[path.suffix.lower()])


@dataclass(frozen=True)
class _Row:
    """A row whose pictures are not read yet: of a clip of a video, or for None of the whole video."""

    video: Video
    folder: Path
    clip: Range | None
    title: str
    kept: bool

    def pictures(self, settings: Settings) -> Pictures:
        try:
            reader = VideoReader(self.video.path)
            if self.clip is None:
                pts = reader.timestamps()
                return [_square(frame) for frame in reader.pick(pts, _spread(0, len(pts)))]
            faces = Faces.load(self.folder / "faces" / "faces.npz")
            start, stop = self.clip
            chosen = _spread(start, stop)
            boxes = faces.boxes(start, stop, settings.crop_scale, settings.still)[np.array(chosen) - start]
            frames = reader.pick(faces.pts, faces.source[chosen])
            shown = [crop(frame, box, (SIDE, SIDE)) for frame, box in zip(frames, boxes, strict=True)]
            return [(picture * 255).round().byte().numpy() for picture in shown]
        except (KeySyncError, OSError):
            if self.kept:
                raise
            return []  # that is why it was dropped


def _rows(chain: Chain, video: Video, failure: str) -> Iterator[_Row]:
    records = chain.records(video)
    folder = chain.folder / video.id
    if failure:
        yield _Row(video, folder, None, failure, False)
        return
    kept = _ranges(folder, "selection", records)
    for clip in kept:
        yield _Row(video, folder, clip, _title(video, clip), True)
    poor = [clip for clip in _ranges(folder, "clips", records) if "selection" in records and clip not in kept]
    lost = {reason: why for record in records.values() for reason, (_, why) in _losses(record).items()}
    reasons = "; ".join(f"{reason} ({why})" for reason, why in lost.items())
    for clip in poor:
        yield _Row(video, folder, clip, f"{_title(video, clip)}: {reasons}", False)
    if not kept and not poor:
        yield _Row(video, folder, None, f"{video.name}: {reasons}", False)


def _losses(record: Record) -> Mapping[str, tuple[float, str]]:
    return {**record.facts.get("lost", {}), **(record.discard or {})}


def _ranges(folder: Path, stage: str, records: Mapping[str, Record]) -> list[Range]:
    """The clips that a stage found; none where it discarded the video."""
    if stage not in records or records[stage].discard is not None:
        return []
    return [(start, stop) for start, stop in json.loads((folder / stage / "clips.json").read_text(encoding="utf-8"))]


def _title(video: Video, clip: Range) -> str:
    start, stop = (frame / NETWORK_RATE for frame in clip)
    return f"{video.name}, {start:.2f} to {stop:.2f} s"


def _spread(start: int, stop: int) -> list[int]:
    """Up to `COLUMNS` frames of a range, evenly spaced."""
    return sorted(set(np.linspace(start, stop - 1, COLUMNS).round().astype(int).tolist()))


def _square(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A whole frame (h, w, 3), small enough for a square, with margins."""
    picture = Image.new("RGB", (SIDE, SIDE), PAPER)
    small = Image.fromarray(frame)
    small.thumbnail((SIDE, SIDE))
    picture.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.array(picture)


def _strip(row: Entry) -> NDArray[np.uint8]:
    """A row (LINE + SIDE, COLUMNS * SIDE, 3): its title, green or red, above its pictures."""
    strip = Image.new("RGB", (COLUMNS * SIDE, LINE + (SIDE if row.pictures else 0)), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((4, 2), f"{'kept' if row.kept else 'dropped'}: {row.title}", fill=KEPT if row.kept else DROPPED)
    for column, picture in enumerate(row.pictures):
        strip.paste(Image.fromarray(picture), (column * SIDE, LINE))
    return np.array(strip)
