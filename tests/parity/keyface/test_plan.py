"""The plan of any number of frames, and the curves of emotion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keysync.systems.keyface.emotion import EMOTIONS, Emotion
from keysync.systems.keysync.plan import Plan

from ..conftest import Golden

EXACT = 1e-6


def test_the_right_plan_in_every_case(keyface: Golden) -> None:
    cases = keyface.facts("plan")["cases"]
    assert cases
    for case in cases:
        right, plan = case["right"], Plan(case["n_audio"])
        assert plan.padded == right["padded_frames"]
        assert list(plan.keyframes) == right["keyframes"]
        assert [list(batch) for batch in plan.batches] == right["batches"], case["n_audio"]
        assert [[plan.index(frame) for frame in batch] for batch in plan.batches] == right["audio_batches"]
        assert [list(window) for window in plan.windows] == right["windows"]
        assert plan.frames == right["out_frames"]
        assert plan.frames - 1 == right["repeated_last_frame"]


def test_names(keyface: Golden) -> None:
    names = keyface.facts("emotion")["names"]
    assert dict(EMOTIONS) == {name: tuple(values) for name, values in names.items()}


def test_states_along_time(keyface: Golden) -> None:
    """Equal for as long as the reference's curve is, and exactly as long as there are frames; an accent comes once."""
    met = set()
    for case in keyface.facts("emotion")["cases"]:
        emotion, frames = Emotion.of(",".join(case["states"])), case["total_frames"]
        emotion = emotion.accentuated() if case["accentuate"] else emotion
        ours = emotion.at(np.arange(frames) / 25)
        assert ours.shape == (frames, 2)
        theirs = np.stack((case["valence"], case["arousal"]), axis=1)[:frames]
        assert np.abs(ours[: len(theirs)] - theirs).max() < EXACT, case["states"]
        assert (ours[len(theirs) :] == ours[len(theirs) - 1]).all()
        if case["accentuate"]:  # what reaches the reference's network was accentuated twice
            twice = np.clip(1.5 * ours[: len(theirs)], -1, 1)
            effective = np.stack((case["effective_valence"], case["effective_arousal"]), axis=1)[: len(theirs)]
            assert np.abs(twice - effective).max() < EXACT, case["states"]
        met.add(case["accentuate"])
    assert met == {False, True}


def test_emotions_in_the_slots(keyface: Golden) -> None:
    """Each slot takes the emotion of its frame, the anchor that of frame 0, padding that of the last keyframe."""
    met = 0
    for case in keyface.facts("plan")["emotions_in_slots"]:
        if not is_right(case):
            continue
        plan = Plan(case["n_audio"])
        curve = Emotion.of(",".join(case["states"])).at(np.arange(plan.frames) / 25)
        for number, batch in enumerate(plan.batches):
            ours = curve[[plan.index(frame) for frame in batch]]
            theirs = np.stack((case["valence"][number], case["arousal"][number]), axis=1)
            assert np.abs(ours - theirs).max() < EXACT, case["n_audio"]
        met += 1
    if not met:
        pytest.skip(keyface.lacks("emotions in the slots of a right plan"))


def is_right(case: dict[str, Any]) -> bool:
    """Whether the reference followed the right plan there, and did not accentuate twice."""
    if case["status"] != "ran" or case["accentuate"]:
        return False
    slots: list[list[int]] = case["slots"]
    return [list(batch) for batch in Plan(case["n_audio"]).batches] == slots
