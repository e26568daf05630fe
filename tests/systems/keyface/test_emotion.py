"""Emotion curves: named states, states at seconds, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.systems.keyface.emotion import EMOTIONS, Emotion, spread

TIMES = np.arange(100) / 25


def test_one_state_is_constant() -> None:
    assert (Emotion.of("happy").at(TIMES) == EMOTIONS["happy"]).all()
    assert (Emotion.of(" Happy ").at(TIMES) == EMOTIONS["happy"]).all()


@pytest.mark.parametrize("frames", [*range(1, 12), 27, 100, 103])
@pytest.mark.parametrize("states", [1, 2, 3, 5])
def test_states_in_a_row_give_a_value_for_every_frame(frames: int, states: int) -> None:
    values = np.linspace(-1, 1, 2 * states).reshape(states, 2)
    curve = spread(values, frames)
    assert curve.shape == (frames, 2)
    assert (curve[0] == values[0]).all()
    if states > 1 and frames >= 2 * (states - 1):
        assert (curve[-1] == values[-1]).all()


def test_states_at_seconds_are_joined_by_lines() -> None:
    emotion = Emotion.of("0:neutral, 2:happy")
    assert emotion.at(np.array([0, 1, 2, 9.0])).tolist() == [[0, 0], [0.425, 0.375], [0.85, 0.75], [0.85, 0.75]]
    controls = emotion.controls
    assert list(controls) == ["valence", "arousal"]
    assert controls["arousal"](np.array([1.0])).tolist() == [0.375]


def test_an_accent_comes_once() -> None:
    assert Emotion.of("fear").accentuated().at(TIMES)[0].tolist() == [pytest.approx(0.2715), 1.0]
    assert (Emotion.of("neutral").accentuated().at(TIMES) == 0).all()


def test_a_curve_from_a_file(tmp_path: Path) -> None:
    table, objects = tmp_path / "curve.csv", tmp_path / "curve.json"
    table.write_text("Seconds, valence, arousal\n0, 0, 0.5\n2, 1, -0.5\n")
    objects.write_text(
        json.dumps([{"seconds": 0, "valence": 0, "arousal": 0.5}, {"seconds": 2, "valence": 1, "arousal": -0.5}])
    )
    for path in (table, objects):
        assert Emotion.read(path).at(np.array([0, 1, 3.0])).tolist() == [[0, 0.5], [0.5, 0], [1, -0.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joyful", "unknown emotion 'joyful': choose one of neutral, happy"),
        ("0:happy,sad", "expected states, such as happy, or states at seconds"),
        ("", "expected states, such as happy"),
        ("2:happy,1:sad", "the seconds of the emotion curve do not rise"),
    ],
)
def test_texts_that_are_no_emotion(text: str, message: str) -> None:
    with pytest.raises(KeySyncError, match=message) as caught:
        Emotion.of(text)
    assert caught.value.about == "emotion"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "time,valence,arousal\n0,0,0\n", "is not an emotion curve: expected CSV or JSON"),
        ("a.csv", "", "the emotion curve is empty"),
        ("a.csv", "seconds,valence,arousal\n0,2,0\n", "the emotion curve has the value 2: expected"),
        ("a.csv", "seconds,valence,arousal\n0,nan,0\n", "the emotion curve has the value nan: expected"),
        ("a.csv", "seconds,valence,arousal\n1,0,0\n1,0,0\n", "the seconds of the emotion curve do not rise"),
        ("a.csv", "seconds,valence,arousal\n0,0\n", "is not an emotion curve"),
        ("a.json", "{", "is not an emotion curve"),
        ("a.json", "[1, 2]", "is not an emotion curve"),
        ("a.json", "[]", "the emotion curve is empty"),
    ],
)
def test_files_that_are_no_curve(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(KeySyncError, match=message):
        Emotion.read(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="cannot be read: No such file"):
        Emotion.read(tmp_path / "none.csv")
