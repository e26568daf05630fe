from __future__ import annotations

from dataclasses import asdict

import numpy as np

from training.synthetic.render.identity import STYLES, Identity


def test_a_seed_gives_the_same_person_and_another_seed_another() -> None:
    first, again, other = (Identity.sample(np.random.default_rng(seed)) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_people_are_drawn_without_any_state_of_numpy_s_own() -> None:
    np.random.seed(0)
    first = Identity.sample(np.random.default_rng(3))
    np.random.seed(1)

    assert Identity.sample(np.random.default_rng(3)) == first


def test_every_colour_can_be_shown_and_every_style_occurs() -> None:
    people = [Identity.sample(np.random.default_rng(seed)) for seed in range(150)]

    for person in people:
        colours = [value for value in asdict(person).values() if isinstance(value, tuple)]
        assert all(0 < part <= 1.1 for colour in colours for part in colour)
    assert {person.style for person in people} == set(STYLES)


def test_lips_differ_between_people() -> None:
    people = [Identity.sample(np.random.default_rng(seed)) for seed in range(60)]
    colours = np.array([person.lip_colour for person in people])
    shapes = np.array([(person.mouth_width, person.upper_lip, person.lower_lip) for person in people])

    assert (colours.std(0) > 0.06).all()
    assert (shapes.std(0) > (0.9, 0.8, 0.8)).all()
