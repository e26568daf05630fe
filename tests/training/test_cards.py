"""What fits on which card, counted."""

from __future__ import annotations

import pytest

from training import cards
from training.cards import LADDER, counted, table_of_cards
from training.config.config import TrainConfig
from training.run.counting import GIB, Cost


def test_each_rung_is_counted_where_it_changes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TrainConfig] = []

    def measured(config: TrainConfig) -> Cost:
        asked.append(config)
        return Cost(1.0, "fp32", {"weights": 100 - len(asked)}, 1, 1)

    monkeypatch.setattr(cards, "measure", measured)
    peaks = counted(["keyframe", "interpolation"], {"batch_size": "2"})
    assert list(peaks["keyframe"]) == list(LADDER)
    assert peaks["keyframe"]["all weights"] == 99
    assert [rung for rung in LADDER if "decoder" not in rung] == list(peaks["interpolation"])
    assert {config.batch_size for config in asked} == {2}
    assert [config.frozen for config in asked[:7]] == ["fp32"] * 3 + ["bf16"] * 2 + ["fp8"] * 2


def test_the_table() -> None:
    lines = table_of_cards({"keyframe": {"much": 23 * GIB, "little": 6.5 * GIB}}).splitlines()  # type: ignore[dict-item]
    assert lines[0] == "| preset | settings | counted, GiB | 8 GB | 12 GB | 16 GB | 24 GB | 48 GB | 80 GB |"
    assert lines[2] == "| keyframe | much | 23.0 | no | no | no | no | yes | yes |"
    assert lines[3] == "| keyframe | little | 6.5 | yes | yes | yes | yes | yes | yes |"
    assert "counted, not measured" in lines[-1]
