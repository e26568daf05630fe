from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

import training.benchmark as benchmark_module
from tests.training.evaluation.real.players import FRAMES, SIDE, Player, write_clips
from training.benchmark import main
from training.evaluation.film import talk_film


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder, talk_film(0, 0, FRAMES, SIDE))
    return folder


def test_a_system_is_dubbed_measured_and_written_down(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that shows the clips again: their own mouths, which leak whole."""
    monkeypatch.setattr(benchmark_module, "open_models", lambda files: Player())
    output = tmp_path / "out"
    words = [str(clips), "-o", str(output), "--system", "rewrite", "--beside-paper"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed == (output / "benchmark.md").read_text(encoding="utf-8")
    assert "| cross-sync | KeySync | 0.070 |" in printed
    assert "- **LipScore** needs Auto-AVSR's lip reader" in printed
    assert "- **Elo** needs votes on results of two systems: python -m training.vote" in printed
    content = json.loads((output / "benchmark.json").read_text(encoding="utf-8"))
    assert sorted(content["clips"]) == ["first.mkv", "second.mkv"]
    rows = {(row["protocol"], row["system"]): row for row in content["rows"]}
    own, cross = rows["reconstruction", "rewrite"], rows["cross-sync", "rewrite"]
    assert own["identity"]["value"] > 0.95
    assert own["correlation"]["value"] > 0.4
    assert own["correlation"]["value"] > cross["correlation"]["value"]
    assert cross["lipleak"]["value"] > 0.2
    assert own["cmmd"]["value"] is None
    with (output / "benchmark.csv").open(encoding="utf-8", newline="") as file:
        assert {row["system"] for row in csv.DictReader(file)} == {"the clips", "rewrite"}
    assert len(list((output / "results" / "rewrite").rglob("*.mp4"))) == 6


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--clips", "1"], r"1 clips: expected at least 2, which swap voices \(--clips\)"),
        (["--longest", "60"], r"60 seconds of each clip: expected 1 to 20 \(--longest\)"),
        (["--lse", "absent.model"], r"absent.model: no such file: expected the published SyncNet"),
    ],
)
def test_errors_are_one_line(words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "-o", str(tmp_path / "out"), *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert re.search(reason, printed.err)
    assert not (tmp_path / "out").exists()
