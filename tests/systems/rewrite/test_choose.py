from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from keysync.systems.rewrite.choose import AHEAD, Chooser, Looks, Mouths


def make_mouths(count: int, seed: int = 0, still: bool = False) -> Mouths:
    random = np.random.default_rng(seed)
    zeros = np.zeros(count)
    looks = Looks(np.zeros((count, 3)), zeros, zeros) if still else None
    return Mouths(
        random.uniform(0, 0.2, (count, 2)),
        random.normal(0, 0.05, (count, 6, 2)),
        looks or Looks(random.normal(0, 0.2, (count, 3)), random.normal(0, 0.1, count), random.normal(0, 0.1, count)),
        np.cumsum(random.integers(1, 3, count)),
    )


def choose(mouths: Mouths, wanted: np.ndarray, decided_only: bool = False) -> list[int]:
    chooser = Chooser(mouths)
    picks = [chooser.add(row, np.zeros(3), 0.0, 0.0) for row in wanted]
    decided = [pick for pick in picks if pick is not None]
    return decided if decided_only else decided + chooser.finish()


def test_short_spans_get_the_cheapest_path() -> None:
    mouths = make_mouths(5)
    wanted = np.random.default_rng(1).uniform(0, 0.2, (4, 2))
    chooser, transitions = Chooser(mouths), mouths.transitions()
    costs = np.stack([chooser._emission(row, np.zeros(3), 0.0, 0.0) for row in wanted])

    def cost(path: tuple[int, ...]) -> float:
        shown = sum(costs[frame, mouth] for frame, mouth in enumerate(path))
        return float(shown + sum(transitions[a, b] for a, b in pairwise(path)))

    best = min(product(range(5), repeat=4), key=cost)
    assert choose(mouths, wanted) == list(best)


@pytest.mark.parametrize("count", [1, AHEAD - 1, AHEAD, AHEAD + 1, 60])
def test_every_frame_gets_a_pick(count: int) -> None:
    picks = choose(make_mouths(30), np.random.default_rng(2).uniform(0, 0.2, (count, 2)))
    assert len(picks) == count


def test_a_pick_depends_on_no_frame_further_ahead() -> None:
    mouths = make_mouths(30)
    wanted = np.random.default_rng(3).uniform(0, 0.2, (80, 2))
    picks = choose(mouths, wanted)
    for stop in (20, 41, 79):
        assert choose(mouths, wanted[:stop], decided_only=True) == picks[: stop - AHEAD]


def test_a_run_of_the_clip_is_shown_as_it_is() -> None:
    mouths = make_mouths(40, still=True)
    mouths = Mouths(mouths.measures, mouths.lips, mouths.looks, np.arange(40))
    assert choose(mouths, mouths.measures[7:33]) == list(range(7, 33))


def test_going_on_costs_nothing_and_jumps_cost_more_the_further_the_lips_move() -> None:
    mouths = make_mouths(6)
    transitions = mouths.transitions()
    follows = np.flatnonzero(np.diff(mouths.number) == 1)
    assert len(follows)
    assert (transitions[follows, follows + 1] == 0).all()
    others = np.ones_like(transitions, dtype=bool)
    others[follows, follows + 1] = False
    assert (transitions[others] > 0).all()
