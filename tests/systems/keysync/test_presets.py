from __future__ import annotations

import pytest

from keysync import KeySyncError
from keysync.network.schedule import ays_sigmas
from keysync.network.stage import STAGES
from keysync.systems.keysync.presets import EXACT, LEVELS, PRESETS, make_sampling
from keysync.systems.keysync.sampling import Sampling


def evaluations(name: str) -> int:
    return sum(make_sampling(name).network_evaluations(spec) for spec in STAGES.values())


def test_exact_is_the_method() -> None:
    assert make_sampling() == Sampling()
    assert make_sampling(EXACT, 20, 4.0, 1.5, 3) == Sampling(20, 4.0, 1.5, group=3)
    assert make_sampling().sigmas.tolist() == ays_sigmas().tolist()


@pytest.mark.parametrize(("name", "fewer"), [("balanced", 3), ("fast", 5)])
def test_others_evaluate_the_networks_less_often(name: str, fewer: int) -> None:
    assert evaluations(name) * fewer <= evaluations(EXACT)
    sampling = make_sampling(name, Sampling.evaluations, 4.0, group=2)
    assert sampling.sigmas.tolist() == pytest.approx([*LEVELS[name], 0])
    assert (sampling.audio_guidance, sampling.group) == (4.0, 2)


def test_every_preset_is_described() -> None:
    assert set(PRESETS) == {EXACT, *LEVELS}


def test_what_does_not_go_together() -> None:
    with pytest.raises(KeySyncError, match="unknown preset 'quick': choose one of exact, balanced, fast"):
        make_sampling("quick")
    with pytest.raises(KeySyncError, match="20 steps do not go with the preset fast"):
        make_sampling("fast", 20)


@pytest.mark.parametrize("levels", [(), (1.0, 2.0), (2.0, 2.0), (3.0, -1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_levels_fall_and_are_positive(levels: tuple[float, ...]) -> None:
    with pytest.raises(KeySyncError, match="expected positive numbers, each below the one before"):
        Sampling(levels=levels)
