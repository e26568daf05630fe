"""What the cache knows of one clip: the track of its face, what a system saw in its survey, encodings of its crops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from .cache import Arrays, Cache, Entry, digest_of, key_of
from .encodings import ClipEncodings
from .face.boxes import Boxes
from .face.crop import Crops
from .face.face import POINTS
from .face.track import FaceTrack
from .media.source import Facts, FrameSource, Recognisable
from .systems.renderer import Encoding, Look, Remembering, Renderer, Surveyor

# The arrays of a track: numbers for each frame, and their kind.
ARRAYS: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    "landmarks": ((POINTS, 2), np.float32),
    "confidence": ((), np.float32),
    "person": ((), np.int64),
    "shot": ((), np.int64),
    "filled": ((), np.bool_),
    "faces": ((), np.int64),
    "turned": ((), np.bool_),
}

# Kinds of entries, the rooms of the package whose code makes each (an edit there makes it anew), and what else computes
# their numbers.
TRACK, SURVEY, ENCODINGS = "track", "survey", "encodings"
ROOMS = {TRACK: ("face", "media"), SURVEY: ("face", "media", "systems"), ENCODINGS: ("face", "media", "vae")}
VERSIONS = (torch.__version__, av.__version__)

Timestamps = NDArray[np.int64]

log = logging.getLogger(__name__)


class ClipMemory:
    """The cache's entries of one source: none without a cache, and for a source that cannot be recognised."""

    def __init__(self, cache: Cache | None, source: FrameSource) -> None:
        self._cache, self._source = cache, source
        self.hits: list[str] = []

    @cached_property
    def _fingerprint(self) -> str | None:
        return _fingerprint(self._source) if self._cache is not None else None

    def follow(
        self, causes: Sequence[Any], follow: Callable[[], tuple[Timestamps, FaceTrack]]
    ) -> tuple[Timestamps, FaceTrack]:
        """The timestamps and the track that `follow` would give; it depends on the source and on `causes` alone."""
        cache, source = self._cache, self._source
        if cache is None or self._fingerprint is None or not isinstance(source, Recognisable):
            return follow()
        key = key_of(TRACK, ROOMS[TRACK], *VERSIONS, self._fingerprint, *causes)
        entry = cache.load(key)
        if entry is not None:
            try:
                pts, track, facts = _unpack(entry)
            except (LookupError, TypeError, ValueError) as error:
                cache.drop(key, error)
            else:
                log.info("%s: the track of its face is in the cache", self._source.name)
                source.recall(facts)
                self.hits.append(TRACK)
                return pts, track
        pts, track = follow()
        cache.store(key, _pack(pts, track, self._source.facts()))
        return pts, track

    def survey(
        self,
        renderer: Surveyor,
        looks: Iterator[Look],
        note: Callable[[str], None],
        mask: str,
        align: bool,
        track: FaceTrack,
        occluder: FrameSource | None,
    ) -> Renderer:
        """What `renderer.survey` would give; it depends on the source, its track, the occluder, the mask and
        whether crops are turned alone."""
        cache, hidden = self._cache, None if occluder is None else _fingerprint(occluder)
        known = self._fingerprint is not None and (occluder is None or hidden is not None)
        if cache is None or not known or not isinstance(renderer, Remembering):
            return renderer.survey(looks, note)
        key = key_of(
            SURVEY,
            ROOMS[SURVEY],
            *VERSIONS,
            self._fingerprint,
            digest_of(_arrays(track)),
            hidden,
            mask,
            align,
            repr(renderer.needs),
            renderer.system,
        )
        entry = cache.load(key)
        if entry is not None:
            try:
                notes = [str(line) for line in entry.facts["notes"]]
                recalled = renderer.recall(entry)
            except (KeyError, TypeError, ValueError) as error:
                cache.drop(key, error)
            else:
                log.info("%s: what %s saw in it is in the cache", self._source.name, renderer.system)
                self.hits.append(SURVEY)
                for line in notes:
                    note(line)
                return recalled
        notes = []

        def noted(line: str) -> None:
            notes.append(line)
            note(line)

        surveyed = renderer.survey(looks, noted)
        kept = renderer.keep(surveyed)
        cache.store(key, Entry(kept.arrays, {**kept.facts, "notes": notes}))
        return surveyed

    @contextmanager
    def encodings(self, renderer: Renderer, crops: Crops) -> Iterator[Renderer]:
        """Inside, the renderer that encodes only crops whose encodings are not kept; they depend on the source, the
        places of the crops and the encoder alone."""
        cache, source = self._cache, self._fingerprint
        if cache is None or source is None or not isinstance(renderer, Encoding):
            yield renderer
            return
        places = digest_of({"boxes": crops.boxes}), crops.size, crops.native
        causes = *VERSIONS, source, *places, renderer.system, renderer.encoder_digest()

        def key(block: int) -> str:
            return key_of(ENCODINGS, ROOMS[ENCODINGS], *causes, block)

        with closing(ClipEncodings(cache, key, self._source.name)) as kept:
            yield renderer.keeping(kept)


def folder_stamp(folder: Path | None) -> list[Any]:
    """Names, sizes and times of the files in a folder of weights."""
    if folder is None or not folder.is_dir():
        return []
    stats = ((path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file())
    return [[name, facts.st_size, facts.st_mtime_ns] for name, facts in stats]


def _fingerprint(source: FrameSource) -> str | None:
    return source.fingerprint() if isinstance(source, Recognisable) else None


def _arrays(track: FaceTrack) -> Arrays:
    return {name: getattr(track, name) for name in ARRAYS}


def _pack(pts: Timestamps, track: FaceTrack, facts: Facts) -> Entry:
    people = ((frame, index, box) for frame, boxes in enumerate(track.people) for index, box in boxes.items())
    boxes = Boxes.of(people, len(pts)).table
    return Entry({"pts": pts, "people": boxes, **_arrays(track)}, {"size": track.size, "facts": asdict(facts)})


def _unpack(entry: Entry) -> tuple[Timestamps, FaceTrack, Facts]:
    """Raises `LookupError`, `TypeError` or `ValueError` for what is no track."""
    pts = entry.arrays["pts"]
    if pts.ndim != 1 or pts.dtype != np.int64:
        raise ValueError("its timestamps are no row of integers")
    arrays = {name: entry.arrays[name] for name in ARRAYS}
    for name, (shape, kind) in ARRAYS.items():
        if arrays[name].shape != (len(pts), *shape) or arrays[name].dtype != kind:
            raise ValueError(f"{name} has another shape or kind")
    height, width = (int(side) for side in entry.facts["size"])
    told = entry.facts["facts"]
    facts = Facts(**{one.name: told[one.name] for one in fields(Facts)})
    table = entry.arrays["people"]
    if table.ndim != 2 or table.shape[1] != 6 or table.dtype != np.float64:
        raise ValueError("its boxes have another shape or kind")
    named: dict[str, Any] = arrays  # their shapes and kinds were compared
    return pts, FaceTrack(size=(height, width), people=Boxes(table, len(pts)), **named), facts
