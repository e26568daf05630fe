from __future__ import annotations

import numpy as np

from training.synthetic.render.motion import Take


def take(seed: int, frames: int = 400, **options: float) -> Take:
    return Take.sample(np.random.default_rng(seed), frames, **options)


def test_a_seed_gives_the_same_motion() -> None:
    assert take(1) == take(1)
    assert take(1) != take(2)


def test_heads_move_smoothly_and_within_reach() -> None:
    for seed in range(8):
        angles = np.array([(pose.yaw, pose.pitch, pose.roll) for pose in take(seed)])

        assert np.abs(angles).max() < 0.75
        assert np.ptp(angles[:, 0]) > 0.05
        assert np.abs(np.diff(angles, axis=0)).max() < 0.06


def test_eyes_blink_every_few_seconds() -> None:
    shut = np.array([pose.blink > 0.9 for pose in take(3, 1000)])

    assert 5 <= (np.diff(shut.astype(int)) == 1).sum() <= 24


def test_without_liveliness_the_head_rests() -> None:
    still = list(take(4, 100, liveliness=0))

    assert len({(pose.yaw, pose.pitch, pose.roll, pose.shift, pose.scale) for pose in still}) == 1


def test_away_is_the_same_motion_from_behind() -> None:
    first, turned = take(5, 3), take(5, 3).away()

    assert all(pose.away for pose in turned)
    np.testing.assert_allclose(turned.poses[0].head[:, 0], -first.poses[0].head[:, 0], atol=1e-12)


def test_a_tilted_head_rolls_further_about_its_middle() -> None:
    plain, tilted = take(6, 3), take(6, 3).tilted(0.5)

    middle = np.zeros(3)
    for one, two in zip(plain, tilted, strict=True):
        assert two.roll == one.roll + 0.5
        assert (two.yaw, two.pitch, two.blink) == (one.yaw, one.pitch, one.blink)
        assert np.abs(two.place_head(middle) - one.place_head(middle))[:2].max() < 8
    assert take(6, 3).tilted(0.0) == plain
