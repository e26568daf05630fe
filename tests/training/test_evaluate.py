from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import training.evaluate as evaluate_module
import training.evaluation.scope as scope_module
from keysync.correlation import correlation
from keysync.errors import KeySyncError
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.keysync.small import BUILT_IN
from keysync.systems.renderer import Needs, Option, System, UnsuitableError
from keysync.systems.table import SYSTEMS
from tests.training.evaluation.puppets import Mouths, as_loud, frozen, puppet
from training.evaluate import main
from training.evaluation.film import quiet_film, talk_film
from training.evaluation.reader import Reader
from training.evaluation.reading import Covered, Talk, Undubbed
from training.evaluation.row import Row
from training.evaluation.rows import ablation_rows, quiet_rows, talk_rows
from training.evaluation.scope import ModelFiles, Scope, Task, open_models, read, read_all, rows_of, side_of
from training.synthetic.measure.metrics import Estimate

SIDE = 128


@dataclass(frozen=True)
class Small(Scope):
    seed: int = 5
    clips: int = 2
    talk_frames: int = 27
    quiet_frames: int = 40
    covered_frames: int = 14


talk_once, quiet_once = cache(talk_film), cache(quiet_film)


@pytest.fixture(scope="module", autouse=True)
def drawn_once() -> Iterator[None]:
    """All tests look at the same films: they are drawn for the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope_module, "talk_film", talk_once)
        patch.setattr(scope_module, "quiet_film", quiet_once)
        yield


def without_ablations(mouths: Mouths) -> dict[str, Row]:
    reader, small = Reader(puppet(mouths)), Small()
    seed, numbers = small.seed, range(small.clips)
    talks = [talk_once(seed, number, small.talk_frames, SIDE) for number in numbers]
    quiets = [quiet_once(seed, number, small.quiet_frames, SIDE) for number in numbers]
    rows = talk_rows([reader.talk(film, ablations=False) for film in talks])
    return {row.key: row for row in (*rows, *quiet_rows([reader.quiet(film, ablations=False) for film in quiets]))}


def failed(rows: dict[str, Row]) -> set[str]:
    return {key for key, row in rows.items() if not row.holds}


@pytest.fixture(scope="module")
def perfect() -> dict[str, Row]:
    reader, small = Reader(puppet()), Small()
    return {row.key: row for row in rows_of(read(reader, SIDE, small, task) for task in small.tasks)}


def test_every_bound_holds_for_the_person_themselves(perfect: dict[str, Row]) -> None:
    assert failed(perfect) == set()
    sync = perfect["cross_sync_correlation"].estimate
    assert sync is not None
    assert sync.low > 0.9
    assert perfect["outside_mask_max_difference"].value == 0
    assert perfect["occluder_error"].value == 0
    assert [perfect[f"{kind}_lipleak"].value for kind in ("quiet_mouth", "noisy", "noisy_quiet_mouth")] == [0, 0, 0]


def test_a_frozen_mouth_follows_nothing_and_leaks() -> None:
    rows = without_ablations(frozen)
    assert {
        *("cross_sync_correlation", "cross_sync_slope", "correlation_over_loudness", "jitter"),
        *("silent_lipleak", "talking_correlation"),
    } <= failed(rows)
    assert rows["source_lipleak"].holds


def test_a_mouth_that_follows_loudness_does_not_beat_loudness() -> None:
    rows = without_ablations(as_loud)
    assert {"cross_sync_correlation", "correlation_over_loudness", "talking_correlation"} <= failed(rows)
    follows = rows["cross_sync_correlation"].value
    assert follows is not None
    assert follows > 0.2
    assert rows["identity_colour"].holds
    assert rows["source_lipleak"].holds


@pytest.mark.parametrize("good", [True, False])
def test_the_table_is_printed_and_written_with_its_verdict(
    good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = SimpleNamespace(origins={"keyframe": BUILT_IN})
    low = 0.9 if good else 0.1
    row = Row("cross_sync_correlation", "cross-sync", Estimate(low, low, low), 0.8)
    monkeypatch.setattr(evaluate_module, "open_models", lambda _: models)
    monkeypatch.setattr(evaluate_module, "read_all", lambda *_: [])
    monkeypatch.setattr(evaluate_module, "rows_of", lambda _: [row])
    told = tmp_path / "table.json"
    assert main(["--seed", "3", "--json", str(told)]) == (0 if good else 2)
    assert ("FAILS" in capsys.readouterr().out) != good
    table = json.loads(told.read_text())
    assert (table["seed"], table["models"], table["holds"]) == (3, {"keyframe": BUILT_IN}, good)
    assert table["cross_sync_correlation"] == low


def test_random_models_run_and_do_not_follow_the_speech(models: Models) -> None:
    # Unguided takes a third of the time.
    unguided = replace(models, sampling=Sampling(guidance_interval=(0.0, 0.0)))
    talk = Reader(lambda _: unguided).talk(talk_film(0, 0, 14, side_of(models)), ablations=False)
    assert abs(correlation(talk.read, talk.truth)) < 0.8
    assert talk.outside == 0


def test_a_system_is_loaded_from_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, Path | None]] = []

    def load(files: Mapping[str, Path | None], **_: object) -> Any:
        asked.append(files)
        return SimpleNamespace(needs=Needs((40, 40), 2.0, None, ()))

    other = System("other", (Option.file("--bank", "its bank"),), (), lambda _: None, load)
    monkeypatch.setitem(SYSTEMS, "other", other)
    bank = Path("bank.safetensors")
    assert side_of(open_models(ModelFiles({"bank": bank, "vae": None}, system="other"))) == 128
    assert asked == [{"bank": bank}]


def test_a_system_without_guidance_and_keyframes_has_no_figures_for_them() -> None:
    assert {row.key: row.value for row in ablation_rows([], [])} == {
        "guidance_gain": None,
        "mouth_mask_leak": None,
        "interpolation_gain": None,
    }


def test_one_clip_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeySyncError, match="1 clips give no interval"):
        Scope(clips=1)
    assert main(["--clips", "1"]) == 1
    assert "--clips" in capsys.readouterr().err


def test_fewer_than_no_processes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workers", "-1"]) == 1
    assert "--workers" in capsys.readouterr().err


def test_several_processes_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the tasks, dubbed by the model that the project carries."""
    monkeypatch.setattr(Scope, "tasks", [Task("covered", number) for number in range(2)])
    scope = Scope(covered_frames=14)
    one, two = (
        [reading.whole for reading in read_all(ModelFiles(), scope, workers) if isinstance(reading, Covered)]
        for workers in (1, 2)
    )
    assert two == pytest.approx(one, rel=1e-3)
    assert one[0] != one[1]


def test_the_tasks_are_all_films_and_the_long_ones_first() -> None:
    tasks = Scope(clips=6).tasks
    assert [sum(task.kind == kind for task in tasks) for kind in ("talk", "quiet", "covered")] == [6, 6, 2]
    assert [task.ablations for task in tasks] == [True] * 4 + [False] * 10


def test_films_that_the_system_refuses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Talk:
        raise UnsuitableError("the mouth is hidden")

    monkeypatch.setattr(scope_module, "open_models", lambda _: SimpleNamespace(needs=Needs((64, 64), 1.5, None, ())))
    monkeypatch.setattr(scope_module, "read", refuse)
    refused = list(read_all(ModelFiles(), Small(), 1))
    assert refused == [Undubbed("the mouth is hidden")] * len(Small().tasks)
    reader, small = Reader(puppet()), Small()
    readings = [read(reader, SIDE, small, task) for task in small.tasks if task.kind != "covered"]
    table = {row.key: row for row in rows_of([*readings, *refused[:2]])}
    assert table["undubbed"].value == 2
    assert table["occluder_error"].estimate is None
    assert failed(table) == {"undubbed"}
