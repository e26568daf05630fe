"""The rows: what each figure compares, and its bound."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from tests.tiny_keyface import write_tiny_keyface
from tests.training.toy_head_meter import write_toy_head_meter
from training import evaluate
from training.evaluation.heads.reading import Animated, Lasting
from training.evaluation.heads.scope import HeadScope
from training.evaluation.heads.table import evaluate as evaluate_heads
from training.evaluation.heads.table import rows_of
from training.evaluation.row import Row
from training.evaluation.scope import ModelFiles
from training.synthetic.measure.head_meter import HeadReadings

LONG = Lasting(colour=2.0, true_colour=4.0, shape=3.0, true_shape=2.0, joints=1.2)


def animated(seed: int, sound: str = "speech", noise: float = 0.0) -> Animated:
    """Readings that are the truth, but for some noise in those of the generated film."""
    rng = np.random.default_rng(seed)
    opening, asked = rng.uniform(0, 0.4, 40), rng.uniform(-1, 1, (40, 2))
    real = HeadReadings(*(part.astype(np.float32) for part in (opening, asked[:, 0], asked[:, 1])))
    parts = (part + noise * rng.normal(size=40) for part in (opening, asked[:, 0], -asked[:, 1]))
    read = HeadReadings(*(part.astype(np.float32) for part in parts))
    return Animated(sound, read, real, opening.astype(np.float32), asked)


@pytest.fixture(scope="module")
def tiny_keyface(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """Its files by their options' names."""
    files = write_tiny_keyface(tmp_path_factory.mktemp("keyface"))
    names = {"keyframe": "keyframe_model", "interpolation": "interpolation_model", "weak": "weak_model"}
    return {names.get(name, name): path for name, path in files.items()}


@pytest.fixture(scope="module")
def toy_meter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_head_meter(tmp_path_factory.mktemp("meter"))


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    made = [animated(0), animated(1, "laugh"), animated(2)]
    return {row.key: row for row in rows_of(made, LONG)}


def test_figures(rows: dict[str, Row]) -> None:
    found = {key: row.value for key, row in rows.items()}
    assert found["opening"] == pytest.approx(1, abs=1e-6)
    assert found["valence"] == pytest.approx(1)
    assert found["arousal"] == pytest.approx(-1)
    assert [found[f"meter_{name}"] for name in ("opening", "valence", "arousal")] == pytest.approx([1, 1, 1])
    assert (found["drift_colour"], found["drift_shape"], found["joints"]) == (0.5, 1.5, 1.2)
    assert found.keys() >= {"opening_speech", "opening_laugh"}
    assert "opening_sigh" not in found


def test_bounds(rows: dict[str, Row]) -> None:
    assert {key for key, row in rows.items() if not row.holds} == {"arousal", "drift_shape"}
    bounds = {key: row.bound for key, row in rows.items() if row.bounded}
    assert bounds == {
        "opening": ">= 0.75",
        "valence": ">= 0.7",
        "arousal": ">= 0.7",
        **{f"meter_{name}": ">= 0.95" for name in ("opening", "valence", "arousal")},
        "drift_colour": "<= 1",
        "drift_shape": "<= 1",
        "joints": "<= 1.3",
    }


def test_noise_costs_correlation() -> None:
    rows = rows_of([animated(seed, noise=0.5) for seed in range(3)], LONG)
    assert rows[0].value is not None
    assert rows[0].value < 0.6


@dataclass(frozen=True)
class Short(HeadScope):
    clips: int = 2
    frames: int = 14
    seconds: int = 2


def test_the_command_prints_the_table(
    tiny_keyface: dict[str, Path | None],
    toy_meter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of networks that have learned nothing, on the shortest films."""
    monkeypatch.setattr(evaluate, "HeadScope", Short)
    words = [word for name, path in tiny_keyface.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    words += ["--meter", str(toy_meter), "--workers", "1", "--json", str(tmp_path / "table.json")]
    assert evaluate.main(["--system", "keyface", *words]) == 2
    printed = capsys.readouterr().out
    assert "valence: correlation with what was asked" in printed
    assert re.search(r"bounds do not hold: .*meter_opening", printed)
    assert "2 clips of 14 frames and one of 2 s, seed 0" in printed
    made = json.loads((tmp_path / "table.json").read_text())
    found = {key: row["value"] for key, row in made["rows"].items()}
    assert found.keys() >= {"opening", "valence", "arousal", "drift_colour", "drift_shape", "joints"}
    assert all(value is not None and np.isfinite(value) for value in found.values())
    assert (made["meter"], made["long_seconds"]) == (str(toy_meter), 2)


def test_a_meter_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command = "python -m training.synthetic.measure.head_meter_training -o FILE"
    assert evaluate.main(["--system", "keyface"]) == 1
    assert f"the meter of heads is missing: train it with {command}, and give" in capsys.readouterr().err


def test_a_meter_that_is_not_there_ends_it_early(tiny_keyface: dict[str, Path | None], tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="no such file: expected the meter of heads"):
        evaluate_heads(ModelFiles(tiny_keyface, system="keyface"), tmp_path / "none.safetensors", Short(), 2)


def test_processes_are_counted(toy_meter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--system", "keyface", "--meter", str(toy_meter), "--workers", "-1"]) == 1
    assert "-1 processes: expected 1 or more" in capsys.readouterr().err


def test_real_clips_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--system", "keyface", "--real", str(tmp_path)]) == 1
    assert "error: keyface dubs no clips: expected rendered people; omit --real" in capsys.readouterr().err


def test_models_are_asked_for(toy_meter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--system", "keyface", "--meter", str(toy_meter)]) == 1
    assert "the KeyFace keyframe model is missing" in capsys.readouterr().err
