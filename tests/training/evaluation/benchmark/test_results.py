from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.media.reader import VideoReader
from tests.training.evaluation.real.players import FRAMES, Player
from training.evaluation.benchmark.pairs import CROSS, SILENCE, Pair
from training.evaluation.benchmark.results import make, result_of, systems_of, write_pairs


def test_the_list_of_pairs_has_the_speech_of_each(pairs: list[Pair], tmp_path: Path) -> None:
    write_pairs(tmp_path, pairs)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["protocol"], row["name"]) for row in rows] == [(pair.protocol, pair.name) for pair in pairs]
    for row, pair in zip(rows, pairs, strict=True):
        assert Path(row["video"]).name == pair.clip.name
        with wave.open(str(tmp_path / row["speech"])) as speech:
            assert (speech.getnchannels(), speech.getframerate()) == (1, 16_000)
            samples = np.frombuffer(speech.readframes(speech.getnframes()), "<i2")
        np.testing.assert_allclose(samples / 2**15, pair.speech.numpy(), atol=2**-15)


def test_a_clip_is_dubbed_under_each_protocol_once(pairs: list[Pair], tmp_path: Path) -> None:
    mine = [pair for pair in pairs if pair.clip is pairs[0].clip]
    assert list(make(tmp_path, "player", Player(), mine, 0)) == mine
    for pair in mine:
        made = result_of(tmp_path, "player", pair.protocol, pair.name)
        assert made is not None
        assert len(VideoReader(made).timestamps()) == FRAMES
    assert list(make(tmp_path, "player", Player(refuses="never again"), mine, 0)) == []
    assert systems_of(tmp_path) == ["player"]
    with pytest.raises(KeySyncError, match="never"):
        list(make(tmp_path, "other", Player(refuses="never"), mine, 0))


def test_results_of_other_systems_are_found_by_name(tmp_path: Path) -> None:
    assert systems_of(tmp_path) == []
    place = tmp_path / "results" / "theirs" / CROSS
    place.mkdir(parents=True)
    (tmp_path / "results" / ".hidden").mkdir()
    (place / "a.b+c.mov").touch()
    assert systems_of(tmp_path) == ["theirs"]
    assert result_of(tmp_path, "theirs", CROSS, "a.b+c") == place / "a.b+c.mov"
    assert result_of(tmp_path, "theirs", CROSS, "a") is None
    assert result_of(tmp_path, "theirs", SILENCE, "a.b+c") is None
