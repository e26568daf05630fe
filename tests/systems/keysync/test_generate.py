"""Both samplers: windows are independent, known latents are kept, progress is told, seeds are kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network import parallel
from keysync.network.stage import STAGES, Stage, Windows
from keysync.systems.keysync import generate
from keysync.systems.keysync.generate import windows_a_call, windows_at_once
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import OnStep

from ...cores import cores
from ...small_stages import FRAMES, Inputs, inputs, small_stage

WINDOWS = 3
# Guided at one of the noise levels.
QUICK = Sampling(evaluations=10, guidance_interval=(1.0, 2.0))

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return {name: small_stage(name) for name in ("keyframe", "interpolation")}


def windows(name: str) -> Inputs:
    return inputs(name, WINDOWS)


def sample(stage: Stage, given: Inputs, sampling: Sampling = QUICK, on_step: OnStep | None = None) -> Tensor:
    return generate.sample(stage, given.windows, given.noise, sampling, on_step)


@by_stage
def test_any_grouping_gives_the_same(name: str, stages: dict[str, Stage]) -> None:
    """Windows do not see each other, so that one sampled alone is as it is among others."""
    given = windows(name)
    pairs, together = (sample(stages[name], given, replace(QUICK, group=group)) for group in (2, WINDOWS + 1))
    assert pairs.shape == given.noise.shape
    torch.testing.assert_close(pairs, together, rtol=1e-4, atol=1e-4)
    alone = sample(stages[name], given.window(1))
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-4)


@by_stage
def test_known_latents_are_kept(name: str, stages: dict[str, Stage]) -> None:
    given = windows(name)
    latents = sample(stages[name], given)
    kept = (given.windows.mask == 0).expand_as(latents).clone()
    made = ~kept
    if name == "interpolation":
        assert torch.equal(latents[:, [0, -1]], given.windows.reference)
        kept[:, [0, -1]] = made[:, [0, -1]] = False
    # The last step adds and subtracts the rest of the noise, which rounds.
    torch.testing.assert_close(latents[kept], given.windows.known[kept], rtol=0, atol=1e-6)
    assert ((latents - given.windows.known)[made].abs() > 1e-3).float().mean() > 0.9


@by_stage
def test_same_inputs_same_latents(name: str, stages: dict[str, Stage]) -> None:
    given = windows(name).window(0)
    noises = [torch.randn(given.noise.shape, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    latents, same, reseeded = (sample(stages[name], replace(given, noise=noise)) for noise in noises)
    assert torch.equal(same, latents)
    given = replace(given, noise=noises[0])
    respoken = sample(stages[name], given.changed(features=given.windows.features + 1))
    another = sample(stages[name], given.changed(reference=given.windows.reference + 1))
    for other in (reseeded, respoken, another):
        # Interpolation overwrites the ends with the keyframes.
        assert (other - latents)[:, 1:-1].abs().max() > 1e-3


@by_stage
def test_inputs_are_left_alone_and_no_gradients_are_kept(name: str, stages: dict[str, Stage]) -> None:
    given = windows(name).window(0)
    before = [part.clone() for part in given.parts]
    latents = sample(stages[name], given)
    assert not latents.requires_grad
    assert all(torch.equal(*pair) for pair in zip(before, given.parts, strict=True))


@by_stage
def test_half_precision_weights_give_float32(name: str) -> None:
    latents = sample(small_stage(name).to(torch.bfloat16), windows(name).window(0))
    assert latents.dtype == torch.float32
    assert latents.isfinite().all()


# Progress


def test_network_evaluations() -> None:
    spec = STAGES["keyframe"]
    assert Sampling().network_evaluations(spec) == 33
    assert Sampling(evaluations=10).network_evaluations(spec) == 30
    assert Sampling(evaluations=20).network_evaluations(spec) == 60
    # Six of the table's values lie between.
    assert Sampling(guidance_interval=(0.1, 10.0)).network_evaluations(spec) == 6 * 3 + 5
    assert Sampling(guidance_interval=(800.0, math.inf)).network_evaluations(spec) == 11
    assert Sampling(identity_guidance=1.0).network_evaluations(spec) == 22
    assert Sampling().network_evaluations(replace(spec, audio_guidance=2.0)) == 22, "both scales are 2"


@by_stage
def test_a_stage_is_guided_as_it_wants_it(name: str, stages: dict[str, Stage]) -> None:
    given = windows(name).window(0)
    published, own = replace(QUICK, audio_guidance=5.0, identity_guidance=2.0), small_stage(name)
    expected = sample(stages[name], given)
    assert torch.equal(sample(stages[name], given, published), expected)
    own.load_state_dict(stages[name].state_dict())
    own.spec = replace(own.spec, audio_guidance=3.0, identity_guidance=1.5)
    wanted = sample(stages[name], given, replace(QUICK, audio_guidance=3.0, identity_guidance=1.5))
    assert not torch.equal(wanted, expected)
    assert torch.equal(sample(own, given), wanted)
    assert torch.equal(sample(own, given, published), expected)


@by_stage
@pytest.mark.parametrize(("sampling", "group"), [(Sampling(), 2), (QUICK, 1)])
def test_progress_sums_to_the_evaluations(name: str, sampling: Sampling, group: int, stages: dict[str, Stage]) -> None:
    told: list[int] = []
    evaluated: list[int] = []
    with stages[name].register_forward_pre_hook(lambda _, given: evaluated.append(len(given[0]))):
        sample(stages[name], windows(name), replace(sampling, group=group), told.append)
    assert sum(told) == sum(evaluated) == WINDOWS * sampling.network_evaluations(stages[name].spec)
    assert len(told) == math.ceil(WINDOWS / group) * sampling.evaluations


def test_cancelling_stops_at_once(stages: dict[str, Stage]) -> None:
    class Cancelled(Exception):
        pass

    told: list[int] = []

    def cancel(count: int) -> None:
        told.append(count)
        raise Cancelled

    with pytest.raises(Cancelled):
        sample(stages["keyframe"], windows("keyframe"), Sampling(group=1), cancel)
    assert told == [3]


def test_windows_on_several_cores_are_those_on_one(stages: dict[str, Stage]) -> None:
    """To the bit: each is computed on one core, however many there are."""
    for name, stage in stages.items():
        given = windows(name)
        with cores(1):
            expected = sample(stage, given, replace(QUICK, group=1))
        with cores(2):
            told: list[int] = []
            assert torch.equal(sample(stage, given, replace(QUICK, group=1), told.append), expected)
        assert sum(told) == WINDOWS * QUICK.network_evaluations(stage.spec)


def test_windows_together_are_as_many_as_memory_holds(
    stages: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages["interpolation"]
    with cores(2):
        assert windows_a_call(stage, 13) == 7
        assert windows_at_once(stage, Sampling()) == FRAMES - 1  # those of a batch of keyframes
        assert windows_at_once(stage, Sampling(group=1)) == 2
        monkeypatch.setattr(generate, "SMALL", 3 * stage.peak_bytes(1))
        assert windows_a_call(stage, 13) == 3
        monkeypatch.setattr(generate, "SMALL", 1)
        assert windows_a_call(stage, 13) == 1
        monkeypatch.setattr(parallel, "SMALL", stage.peak_bytes(1) - 1)
        assert windows_at_once(stage, Sampling()) == 1  # a large network: one window takes all cores


def test_a_stage_of_a_host_samples_by_itself(stages: dict[str, Stage]) -> None:
    class Host:
        def __init__(self, stage: Stage) -> None:
            self.spec = stage.spec

        def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
            calls.append((windows, noise, sampling, on_step))
            return torch.zeros_like(noise)

    calls: list[tuple[object, ...]] = []
    for name, stage in stages.items():
        given = windows(name)
        sampled = generate.sample(Host(stage), given.windows, given.noise, QUICK)
        assert calls.pop() == (given.windows, given.noise, QUICK, None)
        ends = given.windows.reference if name == "interpolation" else torch.zeros_like(sampled[:, [0, -1]])
        assert torch.equal(sampled[:, [0, -1]], ends)


# Errors


def test_too_few_steps_are_refused_before_any_work() -> None:
    with pytest.raises(KeySyncError, match=r"^9 steps are too few: expected at least 10; the published number is 11$"):
        Sampling(evaluations=9)
