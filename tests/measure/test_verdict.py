from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from keysync.measure.figures import Figures
from keysync.measure.verdict import verdict

NONE: dict[str, Any] = {field.name: None for field in fields(Figures)}
NOTHING = Figures(**NONE)
GOOD = replace(
    NOTHING,
    frames=80,
    frames_seen=75,
    rate=25.0,
    lag_frames=1,
    lag_seconds=0.04,
    lag_confidence=0.98,
    correlation=0.81,
    silent_frames=20,
    silent_throughout=False,
)


@pytest.mark.parametrize(
    ("changed", "begins"),
    [
        ({}, "In sync: the mouth follows the speech within a frame (correlation 0.81, confidence 0.98)"),
        ({"lag_frames": 5, "lag_seconds": 0.2}, "Out of sync: the mouth is 5 frames (200 ms) late"),
        ({"lag_frames": -2, "lag_seconds": -0.08}, "Out of sync: the mouth is 2 frames (80 ms) early"),
        ({"correlation": 0.1}, "No sync found: the mouth does not follow the speech"),
        ({"lag_confidence": 0.4}, "Unsure: the mouth follows the speech in part"),
        ({"frames_seen": 10}, "Too little is seen to judge the sync: 10 frames with a face, 25 needed"),
        ({"silent_throughout": True, "lag_frames": None}, "The sound is silent, so there is no sync to judge"),
        ({"lag_frames": None}, "The mouth or the sound does not change"),
    ],
)
def test_the_sync_comes_first(changed: dict[str, Any], begins: str) -> None:
    said = verdict(replace(GOOD, **changed))
    assert said.startswith(begins)
    assert said.count(". ") == 0
    assert said.endswith("English best: a guide, no proof.")
    assert "of 80 frames" in said


def test_silence_and_the_picture_follow() -> None:
    leaking = verdict(replace(GOOD, lipleak=0.25))
    assert "the mouth is open in 25% of the 20 frames of silence (aspect ratio above 0.25)" in leaking
    assert "silence" not in verdict(replace(GOOD, lipleak=1.0, silent_frames=2))
    dub = replace(GOOD, outside_largest=0, outside_block=0.0, unchanged_outside=True)
    assert "; nothing changed outside the mask; judged on" in verdict(dub)
    assert "nothing changed that can be seen" in verdict(replace(dub, outside_largest=9, outside_block=0.5))
    shown = verdict(replace(dub, colour_shift=21.6, seam=1.21))
    assert "; the skin around the mouth is off by 22 of 255 levels; the border of the mask shows (seam 1.21);" in shown
    assert "skin" not in verdict(replace(dub, colour_shift=2.0, seam=1.02))
    worse = replace(dub, outside_largest=90, outside_block=12.4, unchanged_outside=False)
    assert "the picture changed outside the mask, by up to 12 of 255 levels" in verdict(worse)
