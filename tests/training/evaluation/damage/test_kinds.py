from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.damage.kinds import DAMAGES, Stage
from training.evaluation.film import talk_film
from training.synthetic.measure.meter import Meter


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage.of(talk_film(0, 0, 16, 128))


@pytest.mark.parametrize("name", DAMAGES)
def test_no_damage_is_the_perfect_dub_and_more_is_further_from_it(stage: Stage, name: str) -> None:
    damage = DAMAGES[name]
    perfect = stage.dub(stage.said)
    none, worst = damage.make(stage, damage.levels[0]), damage.make(stage, damage.levels[-1])
    assert np.array_equal(none, perfect)
    change = np.abs(worst.astype(int) - perfect)
    outside = change[~stage.inside]
    assert (outside.max() > 10) == (name == "spilled")
    if name != "spilled":
        assert change[stage.inside].mean() > 0.1


def test_a_frozen_mouth_stands_still_in_its_parts(stage: Stage) -> None:
    made = DAMAGES["frozen"].make(stage, 1.0)
    openings = Meter().read(made, stage.film.source.landmarks).opening
    assert np.abs(np.diff(openings[:8])).max() < 0.03
    own = Meter().read(stage.dub(stage.said), stage.film.source.landmarks).opening
    assert np.abs(np.diff(own[:8])).max() > 0.03
