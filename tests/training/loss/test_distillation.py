"""The losses of distillation: hand-computed cases, the levels that a teacher takes, and what a student learns."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.euler import euler
from keysync.network.guidance import guide
from keysync.network.schedule import AYS
from keysync.network.stage import STAGES, Stage
from tests.small_stages import small_stage
from training.config.config import TrainConfig, load_config
from training.data.dataset import Batch
from training.loss.distillation import (
    Distillation,
    Teacher,
    between,
    step_target,
    teacher_evaluations,
    teacher_scales,
    way_of,
)
from training.loss.loss import draw, noised, windows_of
from training.weights.lora import adapted

from .test_loss import batch_of, draws_of

UNGUIDED: dict[str, Any] = {"audio_guidance": 1.0, "identity_guidance": 1.0}
FAST = (700.0, 3.0)

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def settings(name: str = "keyframe", **changes: Any) -> TrainConfig:
    plain = {"rgb_weight": 0.0, "gradient_checkpointing": False, "start": "teacher.safetensors", "distill": "guidance"}
    return replace(load_config(name, None, {}), **{**plain, **changes})


def student_of(config: TrainConfig, teacher: Stage | None = None) -> Distillation:
    """A student with the weights of its teacher."""
    stage = small_stage(config.stage)
    return Distillation(stage, Teacher(stage.spec, teacher or small_stage(config.stage)), config)


def guided(stage: Stage, batch: Batch, x: Tensor, level: float, scales: dict[str, float] | None = None) -> Tensor:
    with torch.no_grad():
        return guide(stage, windows_of(stage, batch), scales)(x, torch.tensor(level))


# The target of a step


def test_a_step_of_the_student_ends_where_those_of_the_teacher_end() -> None:
    """A denoiser that gives the level itself, x = 8, from 4 over 2 to 1. By hand: x' = 8 + (8 - 4) / 4 * (2 - 4) = 6,
    x'' = 6 + (6 - 2) / 2 * (1 - 2) = 4; one step 4 = 8 + (8 - D) / 4 * (1 - 4) has D = 8 / 3."""
    x = torch.tensor([8.0])
    assert float(step_target(lambda x, sigma: sigma.expand_as(x), x, (4.0, 2.0, 1.0))) == pytest.approx(8 / 3)
    # Down to 0 it is the last of the denoised latents, and of one step its own, to the bit.
    assert float(step_target(lambda x, sigma: sigma.expand_as(x), x, (4.0, 2.0, 0.0))) == 2.0
    assert float(step_target(lambda x, sigma: sigma.expand_as(x) / 3, x, (0.7, 0.0))) == float(torch.tensor(0.7) / 3)


@by_stage
def test_euler_s_steps_and_one_to_the_target_agree(name: str) -> None:
    stage, batch = small_stage(name), batch_of()
    denoise, levels = guide(stage, windows_of(stage, batch)), (9.0, 4.0, 2.0, 0.5)
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(2))
    x = noise * math.sqrt(1 + 9.0**2)
    with torch.no_grad():
        target = step_target(denoise, x, levels)
        ends = euler(denoise, noise, torch.tensor(levels))
    torch.testing.assert_close(x + (x - target) / 9.0 * (0.5 - 9.0), ends, rtol=1e-4, atol=1e-4)


# The teacher's levels


def test_the_teacher_steps_through_its_own_schedule() -> None:
    config, spec = settings(distill="steps", levels=FAST), STAGES["keyframe"]
    assert between(config, spec, 700.0, 3.0) == (700.0, 54.5, 15.886, 7.977, 4.248, 3.0)
    assert between(config, spec, 3.0, 0.0) == (3.0, *AYS[5:], 0.0)
    own = replace(spec, guidance_baked=True, **UNGUIDED, levels=(700.0, 40.0, 3.0, 0.5))
    assert between(config, own, 700.0, 3.0) == (700.0, 40.0, 3.0)
    assert between(config, own, 3.0, 0.0) == (3.0, 0.5, 0.0)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("ends", [(700.0, 3.0), (3.0, 0.0), (0.01, 0.0), (5000.0, 2000.0)])
def test_or_takes_so_many_steps(steps: int, ends: tuple[float, float]) -> None:
    config = settings(distill="steps", levels=FAST, teacher_steps=steps)
    levels = between(config, STAGES["keyframe"], *ends)
    assert (levels[0], levels[-1]) == ends
    assert all(one > other for one, other in pairwise(levels))
    assert len(levels) == (2 if ends[0] == 5000 else steps + 1)  # the table has none there
    if ends == (700.0, 3.0) and steps == 2:
        place = math.log(3.0 / 4.248) / math.log(1.789 / 4.248) + 4
        nearest = AYS[math.floor(place / 2)], AYS[math.ceil(place / 2)]
        assert nearest[1] < levels[1] < nearest[0]


def test_ways_to_and_from_a_level() -> None:
    spec = STAGES["keyframe"]
    assert way_of(settings(), spec, 2.5) == ((), (2.5, 0.0))
    steps = settings(distill="steps", levels=FAST, teacher_steps=2)
    middle = between(steps, spec, 700.0, 3.0)[1]
    assert way_of(steps, spec, 3.0).before == ()
    trained = replace(steps, distill_from="trajectory")
    assert way_of(trained, spec, 700.0) == ((700.0,), (700.0, middle, 3.0))
    assert way_of(trained, spec, 3.0000001).before == (700.0, middle, 3.0)
    walked = settings(distill_from="trajectory")
    assert way_of(walked, spec, AYS[2]) == (AYS[:3], (AYS[2], 0.0))


def test_the_teacher_s_evaluations_are_counted() -> None:
    spec = STAGES["keyframe"]
    assert teacher_evaluations(settings(), spec) == 3
    assert teacher_evaluations(settings(identity_guidance=1.0), spec) == 2
    steps = settings(distill="steps", levels=FAST, teacher_steps=4)
    assert teacher_evaluations(steps, spec) == 4 * 3
    assert teacher_evaluations(replace(steps, distill_from="trajectory"), spec) == (4 + 0.5 * 4) * 3
    assert teacher_evaluations(settings(distill_from="trajectory"), spec) == (1 + 5) * 3


# What is drawn


def test_levels_are_drawn_from_the_schedule() -> None:
    batch = batch_of(tuple(range(300)))
    batch = replace(batch, latents=batch.latents[..., :1, :1, :1])
    config = settings(distill="steps", levels=FAST)
    drawn = draw(config, batch).sigma
    assert set(drawn.tolist()) == set(FAST)
    assert (drawn == 3).float().mean() == pytest.approx(0.5, abs=0.1)
    assert len(set(draw(settings(distill_from="trajectory"), batch).sigma.tolist())) == len(AYS)
    as_in_training = replace(config, distill="no", levels=(), start="")
    assert torch.equal(draw(settings(), batch).sigma, draw(as_in_training, batch).sigma)


# What is learned


@by_stage
@pytest.mark.parametrize("distill_from", ["data", "trajectory"])
def test_a_student_that_is_its_unguided_teacher_has_no_loss(name: str, distill_from: str) -> None:
    batch = batch_of((4,))  # a clip, as the teacher sees it: with others, sums would round otherwise
    for scales, equal in ((UNGUIDED, True), ({}, False)):
        config = settings(name, distill_from=distill_from, **scales)
        losses = student_of(config)(batch, draw(config, batch))
        # The teacher needs no gradients and is computed in another way, which rounds otherwise.
        assert (float(losses.total.detach()) < 1e-9) == equal
    steps = settings(name, distill="steps", levels=FAST, teacher_steps=1, distill_from=distill_from, **UNGUIDED)
    # From one level to the next in one step: nothing to learn, but for what 1 - ratio rounds.
    assert float(student_of(steps)(batch, draw(steps, batch)).total.detach()) < 1e-9


@by_stage
def test_the_loss_of_guidance_by_hand(name: str) -> None:
    """The teacher's three predictions, combined as the paper does, and the weighted distance to the student's."""
    config, batch = settings(name, audio_guidance=4.0, identity_guidance=2.0), batch_of()
    weights = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(1))
    batch = replace(batch, weight=weights)
    stage, draws = small_stage(name), draws_of(batch, keep_audio=torch.tensor([False, False]))
    x, windows = noised(batch.latents, draws), windows_of(small_stage(name), batch)
    with torch.no_grad():
        neither, identity, both = (
            stage(x, draws.sigma, stage.condition(windows, audio=audio, reference=reference))
            for audio, reference in ((False, False), (False, True), (True, True))
        )
        losses = student_of(config)(batch, draws)
    target = 4 * (both - identity) + 2 * (identity - neither) + neither
    weight = (draws.sigma**2 + 1) / draws.sigma**2
    error = weight[:, None, None, None, None] * (both - target) ** 2
    region = weights.expand_as(error)
    by_clip = [(error[clip] * region[clip]).sum() / region[clip].sum() for clip in range(2)]
    assert float(losses.total) == pytest.approx(float(sum(by_clip)) / 2, rel=1e-4)
    assert losses.pixel == 0


@pytest.mark.parametrize(
    ("start", "levels", "clean", "expected"),
    [
        # D(5, 2) = 1, so x = 5/2 + 1/2 = 3 at 1; D(3, 1) = 1.5, where the way ends: (4 + 1) / 4 * 1.5^2.
        (2.0, (2.0,), 5.0, 2.8125),
        # D(17, 4) = 1, so x = 9 at 2; D(9, 2) = 1.8, so x = 5.4 at 1. One step from 17 to 5.4 has
        # D = (5.4 - 17 / 4) / (1 - 1 / 4) = 23 / 15: (16 + 1) / 16 * (23 / 15)^2.
        (4.0, (4.0, 1.0), 17.0, 17 / 16 * (23 / 15) ** 2),
    ],
)
def test_the_loss_of_steps_by_hand(
    start: float, levels: tuple[float, ...], clean: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is the ideal denoiser of normal latents, D(x, sigma) = x / (1 + sigma^2); the student predicts 0."""
    monkeypatch.setattr("training.loss.distillation.guide", lambda *_: lambda x, sigma: x / (1 + sigma**2))
    config = settings(distill="steps", levels=levels)
    stage = small_stage("keyframe")
    taught = replace(stage.spec, guidance_baked=True, **UNGUIDED, levels=(4.0, 2.0, 1.0))
    student = Distillation(stage, Teacher(taught, small_stage("keyframe")), config)
    monkeypatch.setattr(stage, "forward", lambda x, sigma, condition: torch.zeros_like(x))
    batch = batch_of((4,))
    batch = replace(batch, latents=torch.full_like(batch.latents, clean))
    draws = draws_of(batch, sigma=torch.tensor([start]), noise=torch.zeros_like(batch.latents))
    assert float(student(batch, draws).total) == pytest.approx(expected, rel=1e-6)


@by_stage
def test_lessons_on_the_trajectory_are_what_the_teacher_samples(name: str) -> None:
    config = settings(name, distill="steps", levels=FAST, teacher_steps=2, distill_from="trajectory")
    batch, teacher = batch_of(), small_stage(name)
    draws = draws_of(batch, sigma=torch.tensor([700.0, 3.0]))
    with torch.no_grad():
        x, target = student_of(config).lesson(batch, draws)
    assert torch.equal(x[0], draws.noise[0] * math.sqrt(1 + 700.0**2))
    spec = teacher.spec
    way = way_of(config, spec, 3.0)
    with torch.no_grad():
        denoise = guide(teacher, windows_of(teacher, batch)[1:], spec.scales)
        there = euler(denoise, draws.noise[1:], torch.tensor(way.before))
        whole = euler(denoise, draws.noise[1:], torch.tensor([*way.before, *way.after[1:]]))
    torch.testing.assert_close(x[1:], there, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(target[1:], whole, rtol=1e-3, atol=1e-3)


@by_stage
@pytest.mark.parametrize(
    "changes",
    [{}, {"distill_from": "trajectory"}, {"distill": "steps", "levels": FAST, "teacher_steps": 2}],
    ids=["guidance", "trajectory", "steps"],
)
def test_a_step_of_training_lowers_the_loss(name: str, changes: dict[str, Any]) -> None:
    config, batch = settings(name, **changes), batch_of()
    student = student_of(config)
    draws = draw(config, batch)
    optimizer = torch.optim.Adam(student.stage.parameters(), lr=1e-4)
    before = student(batch, draws).total
    before.backward()
    optimizer.step()
    assert float(student(batch, draws).total.detach()) < 0.99 * float(before.detach())
    teacher = student.teacher.stage
    assert teacher is not None
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    assert not any("teacher" in key for key in student.state_dict())


def test_adapters_are_taught_by_the_stage_without_them() -> None:
    config, batch = settings(trainable="lora", lora_rank=2), batch_of()
    stage = small_stage("keyframe")
    spec = stage.spec
    student = Distillation(adapted(stage, config), Teacher(spec, None), config)
    draws = draws_of(batch)
    before = student(batch, draws).total.detach()
    torch.testing.assert_close(before, student_of(settings())(batch, draws).total.detach())
    for key, parameter in stage.named_parameters():
        if ".lora_B." in key:
            torch.nn.init.constant_(parameter, 0.1)
    with torch.no_grad():
        x, target = student.lesson(batch, draws)
        own = guided(small_stage("keyframe"), batch, x, 0.5)
    torch.testing.assert_close(target[0], own[0], rtol=1e-4, atol=1e-4)
    assert float(student(batch, draws).total.detach()) != float(before)


# What is refused


def test_a_teacher_that_cannot_be_distilled() -> None:
    stage = small_stage("keyframe")
    baked = replace(stage.spec, guidance_baked=True, **UNGUIDED)
    with pytest.raises(KeySyncError, match="is distilled with its guidance already: distill its steps"):
        Distillation(stage, Teacher(baked, stage), settings())
    steps = settings(distill="steps", levels=FAST)
    with pytest.raises(
        KeySyncError, match=r"levels has 3 but teacher\.safetensors is distilled to the noise levels 700, 6"
    ):
        Distillation(stage, Teacher(replace(baked, levels=(700.0, 6.0)), stage), steps)
    with pytest.raises(KeySyncError, match="the audio guidance is 4 but the keyframe model is distilled"):
        Distillation(stage, Teacher(baked, stage), replace(steps, audio_guidance=4.0))
    assert teacher_scales(baked, steps) == UNGUIDED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": ""}, 'start is "": expected the model to distill with distill guidance'),
        ({"rgb_weight": 1.0}, "rgb_weight is 1.0: expected 0 with distill guidance"),
        ({"distill": "steps"}, "expected the noise levels of the distilled schedule, such as 700,6,0.9"),
        ({"distill": "steps", "levels": (3.0, 700.0)}, "expected positive noise levels, each below the one before"),
        ({"levels": FAST}, "expected \\[\\] with distill guidance from data"),
        ({"distill": "no", "levels": FAST}, "levels is .*: expected \\[\\] without distillation"),
        ({"distill": "no", "distill_from": "trajectory"}, 'expected "data" without distillation'),
        ({"distill": "once"}, "expected one of no, guidance, steps"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        settings(**changes)
