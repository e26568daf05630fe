"""Who is trained on and who validates: all clips of a person belong to one split, so that validation uses no face of
the training clips.

A person's name decides, by its hash: others who are added later move none of them. The data's people.json remembers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from keysync.errors import KeySyncError
from keysync.strict_json import strict_json

from ..index import SPLITS, TRAIN, VALIDATION
from ..store import Store
from .settings import KEYFRAME_SPAN

if TYPE_CHECKING:
    from .shards import ClipFiles

logger = logging.getLogger(__name__)

PEOPLE = "people.json"
MOST_CHARACTERS = 2**30


def split(
    clips: Iterable[ClipFiles],
    validation_share: float,
    *,
    known: Mapping[str, str] | None = None,
    span: int = KEYFRAME_SPAN,
) -> dict[str, list[ClipFiles]]:
    """The clips of each split, in the order of their keys.

    People whose split is `known` stay there; of the others about `validation_share` validate. Each split has somebody,
    and a clip of `span` frames, the length of a keyframe window, if two people have one; if only one has, training has
    it. A single person is split by clips, and a single clip is in both splits; a warning is logged.
    Raises `KeySyncError` without clips, for duplicate keys, and for a share that is not between 0 and 1.
    """
    if not 0 < validation_share < 1:
        raise KeySyncError(f"a validation share of {validation_share}: expected a number between 0 and 1")
    ordered = sorted(clips, key=lambda clip: clip.key)
    if not ordered:
        raise KeySyncError("no clips to pack into shards: add other videos")
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise KeySyncError(f"two clips have the key {first.key}, of {first.video} and {second.video}: rename one")
    if len(ordered) == 1:
        logger.warning("there is only one clip, %s: it serves both training and validation", ordered[0].key)
        return dict.fromkeys(SPLITS, ordered)
    longest: dict[str, int] = {}
    for clip in ordered:
        longest[clip.group] = max(longest.get(clip.group, 0), clip.frames)
    if len(longest) == 1:
        logger.warning(
            "all clips are from %s: its last clips serve validation, with the face of the training", *longest
        )
        frames = {clip.key: clip.frames for clip in reversed(ordered)}
        count = min(max(1, round(validation_share * len(frames))), len(frames) - 1)
        chosen = _balanced(frames, set(list(frames)[:count]), {}, span)
        return _parted(ordered, [clip.key in chosen for clip in ordered])
    known = {name: held for name, held in (known or {}).items() if name in longest}
    longest = {name: longest[name] for name in sorted(longest, key=_hash)}
    hashed = {name: VALIDATION if _hash(name) < validation_share else TRAIN for name in longest}
    drawn = {name for name, held in {**hashed, **known}.items() if held == VALIDATION}
    chosen = _balanced(longest, drawn, known, span)
    return _parted(ordered, [clip.group in chosen for clip in ordered])


def read_people(store: Store) -> dict[str, str]:
    """The split of each person who was packed before. Raises `KeySyncError` for a damaged file."""
    try:
        people = strict_json(store.read(PEOPLE), most=MOST_CHARACTERS)
        if not isinstance(people, dict) or not set(people.values()) <= set(SPLITS):
            raise ValueError("expected the split of each person")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise KeySyncError(
            f"cannot read {store.named(PEOPLE)} ({error}): delete it to split the people anew"
        ) from error
    return people


def write_people(store: Store, splits: Mapping[str, Sequence[ClipFiles]]) -> None:
    """Remembers the people of each split, in addition to those known; a person in both is not remembered."""
    people = {name: {clip.group for clip in held} for name, held in splits.items()}
    both = set.intersection(*people.values())
    new = {person: name for name, held in people.items() for person in held - both}
    with store.write(PEOPLE) as file:
        file.write_text(json.dumps({**read_people(store), **new}, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def _balanced(longest: Mapping[str, int], chosen: set[str], known: Mapping[str, str], span: int) -> set[str]:
    """Those who validate: `chosen`, but for as few as leave each split somebody, with a clip of `span` frames if it can
    be. `longest` has each one's longest clip, those first who are to validate first; the `known` do not move."""
    span = min(span, max(longest.values()))
    long = [name for name, frames in longest.items() if frames >= span]
    free = [name for name in long if name not in known]
    if chosen.issuperset(long) and free:
        chosen = chosen - {free[-1]}
    if len(long) > 1 and chosen.isdisjoint(long) and free:
        chosen = chosen | {free[0]}
    if not chosen:
        others = [name for name in longest if name not in known and name not in long]
        chosen = set(others[:1])
    return chosen


def _hash(name: str) -> float:
    """A number from 0 to 1 that depends on the name alone."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64


def _parted(ordered: Sequence[ClipFiles], validates: Sequence[bool]) -> dict[str, list[ClipFiles]]:
    pairs = list(zip(ordered, validates, strict=True))
    return {TRAIN: [clip for clip, held in pairs if not held], VALIDATION: [clip for clip, held in pairs if held]}
