from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import training.sweep as sweep_module
from keysync.errors import KeySyncError
from keysync.systems.keysync.models import Models, load_models
from keysync.systems.keysync.presets import EXACT, PRESETS
from keysync.systems.keysync.sampling import Sampling
from keysync.weights.checkpoint import save_stage
from training.evaluation.reading import Distance, Quiet, Talk
from training.sweep import HEADS, _parser, as_json, as_lines, main, schedules_of, sweep, ways_of

FRAMES, RATE = 40, 0.3


def talk(error: float) -> Talk:
    """A film whose mouth is read with an error."""
    truth = 0.5 + 0.4 * np.sin(np.arange(FRAMES) * RATE)
    read = truth + error * np.cos(np.arange(FRAMES) * 2.1)
    texture = np.zeros((FRAMES, 2, 2, 3))
    return Talk(read, truth, truth, truth, texture, texture, Distance(1, 2), Distance(1 + error, 2), 0)


def quiet(error: float) -> Quiet:
    one = talk(error)
    return Quiet(np.zeros(5), np.ones(5), one.read, one.truth, 0)


def options(*words: str) -> argparse.Namespace:
    return _parser().parse_args(words)


def test_ways_are_the_presets_and_the_levels_that_are_given() -> None:
    ways = ways_of(options("--levels", "700,6", "--guided-from", "1", "--unguided", "700,6", "9"))
    assert list(ways) == [*PRESETS, "700,6", "700,6 unguided", "9 unguided"]
    assert ways["700,6"].sampling == Sampling(levels=(700.0, 6.0), guidance_interval=(1.0, np.inf))
    exact, unguided = ways[EXACT], ways["700,6 unguided"]
    assert (exact.sampling, exact.keyframe) == (Sampling(), unguided.keyframe)
    assert unguided.sampling.network_evaluations(unguided.keyframe.spec) == 2
    with pytest.raises(KeySyncError, match="the noise levels '700;6' are no numbers"):
        schedules_of(["700;6"], (0.0, 1.0))


def test_a_distilled_pair_is_a_way(tmp_path: Path) -> None:
    """Each stage is sampled at its own levels without guidance."""
    built_in = load_models()
    files = {"keyframe": tmp_path / "K.safetensors", "interpolation": tmp_path / "I.safetensors"}
    for (name, file), levels in zip(files.items(), ((700.0, 3.0), (9.0,)), strict=True):
        stage = getattr(built_in, name)
        stage.spec = replace(stage.spec, guidance_baked=True, audio_guidance=1.0, identity_guidance=1.0, levels=levels)
        save_stage(stage, file)
    words = ["--distilled", *map(str, files.values())]
    ways = ways_of(options(*words))
    assert list(ways) == [*PRESETS, "K + I"]
    pair = ways["K + I"]
    assert pair.keyframe.spec.levels == (700.0, 3.0)
    counts = [pair.sampling.network_evaluations(stage.spec) for stage in (pair.keyframe, pair.interpolation)]
    assert counts == [2, 1]
    assert not ways[EXACT].keyframe.spec.guidance_baked
    with pytest.raises(KeySyncError, match=r"two pairs of models are named K \+ I: rename the files of one"):
        ways_of(options(*words, *words))


def test_a_sweep_compares_with_the_first_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that reads the worse, the fewer evaluations the models make."""

    class Worse:
        def __init__(self, load: Callable[[object], Models]) -> None:
            self.error = 1 / len(load(None).sampling.sigmas)

        def talk(self, film: int, ablations: bool) -> Talk:
            assert not ablations
            return talk(self.error + 0.01 * film)

        def quiet(self, film: int, ablations: bool) -> Quiet:
            assert not ablations
            return quiet(self.error + 0.01 * film)

    monkeypatch.setattr(sweep_module, "Reader", Worse)
    for name in ("talk_film", "quiet_film"):
        monkeypatch.setattr(sweep_module, name, lambda seed, number, frames, side: number)
    models, levels = load_models(), {"first": (700.0, 3.0), "one": (9.0,)}
    ways = {name: replace(models, sampling=Sampling(levels=those)) for name, those in levels.items()}
    swept = sweep(ways | {"again": ways["first"]}, 3, 5)
    found = as_json(swept)
    guided = found["one"]["evaluations"]
    assert found["first"]["evaluations"] == found["again"]["evaluations"] == 2 * guided
    assert found["again"]["against_exact"] == [0, 0, 0]
    assert found["one"]["against_exact"][0] < 0
    assert found["one"]["shape"][0] > found["first"]["shape"][0]
    lines = as_lines(swept)
    assert lines[2][:2] == ("one", f"{guided} (1/2.0)")
    assert {len(line) for line in lines} == {len(HEADS)}


def test_the_command_writes_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def swept(ways: dict[str, Models], films: int, seed: int) -> list[object]:
        assert (list(ways), films, seed) == ([*PRESETS, "700,2"], 3, 4)
        return []

    monkeypatch.setattr(sweep_module, "sweep", swept)
    monkeypatch.setattr(sweep_module, "as_lines", lambda _: [("a", "b")])
    monkeypatch.setattr(sweep_module, "as_json", lambda _: {EXACT: 1})
    table = tmp_path / "table.json"
    assert main(["--levels", "700,2", "--films", "3", "--seed", "4", "--json", str(table)]) == 0
    assert json.loads(table.read_text()) == {EXACT: 1}
    assert "3 talks" in capsys.readouterr().out
    assert main(["--films", "1"]) == 1
    assert "expected at least 2 (--films)" in capsys.readouterr().err
