"""From a folder of clips to the table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import training.evaluate as evaluate_module
import training.evaluation.real.table as table_module
from keysync.errors import KeySyncError
from keysync.face.mesh import MeshReader
from keysync.systems.renderer import Rendering
from training.evaluate import main
from training.evaluation.real.clips import read_clips
from training.evaluation.real.dubs import Scene
from training.evaluation.real.table import RealScope, evaluate

from .players import Player

SECONDS = 1.2
KEYS = {
    "real_wanted_correlation",
    "real_true_correlation",
    "real_leak",
    "real_lipleak",
    "real_sharpness",
    "real_flicker",
    "real_nose_shift",
    "real_frames_per_second",
    "real_outside",
}


@pytest.fixture(scope="module", autouse=True)
def watched_once(folder: Path) -> Iterator[None]:
    """All tests dub the same two clips: they are followed and measured for the first."""
    clips = read_clips([folder], SECONDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "read_clips", lambda *_: clips)
        patch.setattr(Scene, "of", cache(Scene.of))
        patch.setattr(table_module, "MeshReader", cache(MeshReader))
        yield


def test_the_command_dubs_a_folder_and_says_what_holds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate_module, "open_models", lambda _: Player())
    words = [
        "--real",
        folder,
        "--voices",
        1,
        "--in-sync",
        "sec*",
        "--sheets",
        tmp_path / "sheets",
        "--longest",
        SECONDS,
    ]
    assert main([*map(str, words), "--json", str(tmp_path / "table.json")]) == 2
    told = capsys.readouterr().out
    assert "left out: notes.txt: " in told
    assert "real_leak" in told.splitlines()[-2]
    table = json.loads((tmp_path / "table.json").read_text())
    assert table.keys() >= KEYS
    assert table["real_wanted_correlation"] is None
    assert table["real_leak"] > 0.95
    assert table["rows"]["real_outside"]["holds"] is True
    assert [clip["clip"] for clip in table["clips"]] == ["first.mkv", "second.mkv"]
    assert table["lags"]["second.mkv"] == 0
    assert table["models"] == {"player": "this test"}
    with Image.open(tmp_path / "sheets" / "first.mkv.png") as sheet:
        assert sheet.size == (8 * 256, 2 * 256)


def test_a_clip_that_cannot_be_dubbed_is_counted(folder: Path) -> None:
    class Choosy(Player):
        asked = False

        def begin(self, *given: Any) -> Rendering:
            self.refuses = "" if self.asked else "its mouth never opens: choose another system"
            self.asked = True
            return super().begin(*given)

    found = evaluate(Choosy(), RealScope((folder,), voices=1, seconds=SECONDS))
    assert found.undubbed == {"first.mkv": "its mouth never opens: choose another system"}
    assert [figures.clip for figures in found.clips] == ["second.mkv"]
    assert {row.key for row in found.rows if row.key == "real_undubbed" and not row.holds}
    with pytest.raises(KeySyncError, match=r"no clip could be dubbed: .*first.mkv: never"):
        evaluate(Player(refuses="never"), RealScope((folder,), voices=1, seconds=SECONDS))


def test_one_clip_is_enough_to_dub(folder: Path) -> None:
    found = evaluate(Player(), RealScope((folder,), clips=1, seconds=SECONDS))
    assert len(found.clips) == 1
    assert found.clips[0].frames == 60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clips", "0"], "0 clips: expected at least 1 (--clips)"),
        (["--voices", "0"], "0 voices: expected at least 1 (--voices)"),
        (["--longest", "0.5"], "0.5 seconds of each clip: expected 1 to 60 (--longest)"),
    ],
)
def test_a_scope_without_anything_to_measure_is_refused(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--real", str(folder), *words]) == 1
    assert message in capsys.readouterr().err
