from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from keysync.correlation import correlation, slope
from keysync.errors import KeySyncError
from tests.synthetic_face import face_points
from training.synthetic.measure.meter import WEIGHTS, Meter, Readings, patches, truth
from training.synthetic.measure.meter_training import (
    TEST_PEOPLE,
    Mouths,
    augmented,
    figures,
    person_mouths,
    train,
)
from training.synthetic.measure.metrics import mouth_aspect_ratio
from training.synthetic.render.identity import Identity
from training.synthetic.render.motion import Take
from training.synthetic.render.mouth import MouthShape
from training.synthetic.render.portrait import Portrait
from training.synthetic.render.scene import Actor, Scene, framed

PEOPLE, FRAMES = 5, 12


@pytest.fixture(scope="module")
def strangers() -> tuple[torch.Tensor, np.ndarray]:
    """Pictures (n, 128, 128, 3) of people that the meter never saw, cropped as the face is for the network; points."""
    pictures, points = [], []
    for number in range(PEOPLE):
        rng = np.random.default_rng((number, 99))
        take = Take.sample(rng, FRAMES * 30)
        actor = Actor(Portrait(Identity.sample(rng)), framed((160, 160), 0.5, 0.42, 1.05), Take(take.poses[::30]))
        scene = Scene(rng, (160, 160), (actor,))
        for frame in range(FRAMES):
            seen = scene.render(frame, (MouthShape.sample(rng),))
            pictures.append(seen.picture)
            points.append(seen.landmarks)
    planes = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    small = F.interpolate(planes, (128, 128), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1), np.stack(points) * 0.8


def read_of(pictures: torch.Tensor, points: np.ndarray) -> tuple[Readings, Readings]:
    return Meter().read(pictures, points), truth(points)


def test_mouths_of_strangers_are_read_exactly(strangers: tuple[torch.Tensor, np.ndarray]) -> None:
    read, told = read_of(*strangers)
    assert correlation(read.opening, told.opening) >= 0.98
    assert correlation(read.gap, told.gap) >= 0.98
    assert 0.9 < slope(read.opening, told.opening) < 1.1
    assert np.abs(read.opening - told.opening).mean() < 0.03
    assert correlation(read.width, told.width) >= 0.9
    # Which mouths leak is read as it is.
    agreed = (read.mar > 0.25) == (mouth_aspect_ratio(strangers[1]) > 0.25)
    assert agreed.mean() >= 0.9


def test_blur_does_not_disturb(strangers: tuple[torch.Tensor, np.ndarray]) -> None:
    pictures, points = strangers
    planes = pictures.permute(0, 3, 1, 2)
    half = F.interpolate(F.interpolate(planes, (64, 64), mode="bilinear", antialias=True), (128, 128), mode="bilinear")
    read, told = read_of(half.permute(0, 2, 3, 1), points)
    assert correlation(read.opening, told.opening) >= 0.98
    assert 0.88 < slope(read.opening, told.opening) < 1.12


def test_points_of_the_mouth_and_the_jaw_are_not_looked_at(strangers: tuple[torch.Tensor, np.ndarray]) -> None:
    pictures, points = strangers
    blind = points.copy()
    blind[:, [*range(17), *range(48, 68)]] = np.nan
    one, other = Meter().read(pictures[:4], points[:4]), Meter().read(pictures[:4], blind[:4])
    assert np.array_equal(one.opening, other.opening)


def test_pixels_of_the_mouth_are(strangers: tuple[torch.Tensor, np.ndarray]) -> None:
    pictures, points = strangers
    told = truth(points).opening
    wide, shut = int(told.argmax()), int(told.argmin())
    read = Meter().read(pictures[[wide, shut]], points[[wide, shut]])
    assert read.opening[0] > 0.25
    assert read.opening[1] < 0.05


def test_larger_pictures_are_read_alike(strangers: tuple[torch.Tensor, np.ndarray]) -> None:
    pictures, points = strangers
    planes = F.interpolate(pictures[:12].permute(0, 3, 1, 2), (512, 512), mode="bicubic").clamp(0, 1)
    large = (planes.permute(0, 2, 3, 1) * 255).byte()
    one, other = Meter().read(pictures[:12], points[:12]), Meter().read(large, points[:12] * 4)
    assert other.opening == pytest.approx(one.opening, abs=0.05)


def test_patch_turns_and_scales_with_the_eyes() -> None:
    points = torch.from_numpy(face_points((50.0, 45.0), 60.0)).double()[None]
    rng = np.random.default_rng(0)
    picture = torch.from_numpy(rng.uniform(0, 1, (10, 10, 3))).float()
    smooth = F.interpolate(picture.permute(2, 0, 1)[None], (100, 100), mode="bicubic").permute(0, 2, 3, 1).clamp(0, 1)
    upright = patches(smooth, points)
    # A quarter turn to the right: (x, y) -> (100 - y, x).
    turned = torch.stack([100 - points[..., 1], points[..., 0]], -1)
    assert patches(smooth.transpose(1, 2).flip(2), turned) == pytest.approx(upright, abs=1e-4)
    twice = F.interpolate(smooth.permute(0, 3, 1, 2), (200, 200), mode="bilinear").permute(0, 2, 3, 1)
    assert (patches(twice, points * 2) - upright).abs().mean() < 0.01


def test_training_is_the_same_every_time_and_learns() -> None:
    cut, read = person_mouths(0)
    made = Mouths(torch.from_numpy(cut).repeat(5, 1, 1, 1), torch.from_numpy(read).repeat(5, 1))
    first, second = train(made, 2), train(made, 2)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    before, after = figures(first, made, 1.0)["opening"], figures(train(made, 20), made, 1.0)["opening"]
    assert after[0] > 0.6
    assert after[2] < 0.9 * before[2]


def test_people_are_the_same_by_number_and_those_of_the_test_are_others() -> None:
    cut, read = person_mouths(3)
    again, read_again = person_mouths(3)
    other, _ = person_mouths(TEST_PEOPLE + 3)
    assert np.array_equal(cut, again)
    assert np.array_equal(read, read_again)
    assert not np.array_equal(cut, other)
    assert read[:, 0].min() < 0.02
    assert read[:, 0].max() > 0.25


def test_augmentation_keeps_the_mouth_in_the_patch() -> None:
    cut, _ = person_mouths(0)
    wide = torch.from_numpy(cut).float() / 255
    seen = augmented(wide, torch.Generator().manual_seed(0))
    assert seen.shape[1:] == (3, 42, 56)
    assert 0 <= seen.min() < seen.max() <= 1
    # Blurred and in other light, but the same pictures.
    plain = wide[..., 4:-4, 4:-4]
    both = torch.stack(
        [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(seen, plain, strict=True)]
    )
    assert both.median() > 0.7


def test_weights_are_small_and_absence_says_how_to_make_them(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size < 200_000
    with pytest.raises(KeySyncError, match="meter_training"):
        Meter(tmp_path / "meter.safetensors")
    save_file({"layers.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(KeySyncError, match="does not hold the meter"):
        Meter(tmp_path / "other.safetensors")
    assert len(Meter().read(np.zeros((0, 8, 8, 3)), np.zeros((0, 68, 2))).opening) == 0
