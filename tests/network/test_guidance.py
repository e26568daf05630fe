"""The schedule, Euler's method on problems with known solutions, and guidance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.euler import euler
from keysync.network.guidance import EVERYWHERE, TWO_CONDITIONS, Guidance, Prediction, guide
from keysync.network.schedule import AYS, ays_sigmas
from keysync.network.stage import ROWS, Condition, Stage

from ..small_stages import inputs, small_stage

# The schedule


def test_eleven_evaluations_are_the_table() -> None:
    assert ays_sigmas().dtype == torch.float64
    assert ays_sigmas().tolist() == [*AYS, 0.0]
    assert len(AYS) == 11


def test_ten_evaluations_leave_out_the_last_value() -> None:
    assert ays_sigmas(10).tolist() == [*AYS[:10], 0.0]


@pytest.mark.parametrize("evaluations", [12, 21, 50])
def test_more_evaluations_go_log_linearly(evaluations: int) -> None:
    sigmas = ays_sigmas(evaluations)
    assert len(sigmas) == evaluations + 1
    assert sigmas[[0, -2, -1]].tolist() == pytest.approx([AYS[0], AYS[-1], 0.0])
    assert (sigmas.diff() < 0).all()
    if evaluations == 21:
        # Each second value is the table's, those between are geometric means.
        assert sigmas[:-1:2].tolist() == pytest.approx(AYS)
        assert sigmas[1:-1:2].tolist() == pytest.approx(np.sqrt(np.multiply(AYS[:-1], AYS[1:])).tolist())


@pytest.mark.parametrize("evaluations", [9, 1, 0, -3])
def test_too_few_evaluations(evaluations: int) -> None:
    with pytest.raises(KeySyncError) as caught:
        ays_sigmas(evaluations)
    assert str(caught.value) == f"{evaluations} steps are too few: expected at least 10; the published number is 11"


# Euler's method


@pytest.mark.parametrize("evaluations", [10, 11, 20])
def test_a_denoiser_that_knows_the_answer_is_followed_straight(evaluations: int) -> None:
    """x - clean shrinks with sigma, and Euler's method is exact on a straight line."""
    noise, clean = (torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    sigmas, steps = ays_sigmas(evaluations), []

    def follow(step: int, x: Tensor) -> None:
        steps.append(step)
        expected = clean + (start - clean) * float(sigmas[step + 1] / sigmas[0])
        torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)

    start = noise * math.sqrt(1 + 700.0**2)
    result = euler(lambda x, sigma: clean, noise, sigmas, follow)
    assert steps == list(range(evaluations))
    torch.testing.assert_close(result, clean, rtol=1e-5, atol=1e-5)


def test_gaussian_data_gives_the_noise_itself() -> None:
    """For data of variance 1 the best denoiser is x / (1 + sigma^2), and x / sqrt(1 + sigma^2) stays constant."""
    noise = torch.randn(5, generator=torch.Generator().manual_seed(0))
    errors = []
    for evaluations in (200, 2000):
        result = euler(lambda x, sigma: x / (1 + sigma**2), noise, ays_sigmas(evaluations))
        errors.append(float((result - noise).abs().max()))
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.3), "Euler's method is of first order"


def test_the_denoiser_is_told_each_noise_level() -> None:
    told: list[Tensor] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        told.append(sigma)
        return x

    euler(denoise, torch.zeros(1), ays_sigmas())
    assert all(sigma.dtype == torch.float32 for sigma in told)
    assert [float(sigma) for sigma in told] == pytest.approx(AYS)


def test_numbers_in_float64_are_sampled_in_float64() -> None:
    told: list[Tensor] = []
    sigmas = ays_sigmas()

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        told.append(sigma)
        return x / (1 + sigma**2)

    result = euler(denoise, torch.ones(1).double(), sigmas)
    assert result.dtype == torch.float64
    assert torch.equal(torch.stack(told), sigmas[:-1])


# Guidance


def test_two_conditions() -> None:
    made = {"neither": torch.tensor(1.0), "identity": torch.tensor(10.0), "both": torch.tensor(100.0)}
    for audio, identity, expected in ((5.0, 2.0, 5 * 90 + 2 * 9 + 1), (1.0, 1.0, 100), (3.0, 3.0, 3 * 99 + 1)):
        scales = {"audio_guidance": audio, "identity_guidance": identity}
        assert float(TWO_CONDITIONS.combine(**made, **scales)) == expected
        assert float(TWO_CONDITIONS.combined(made, scales)) == expected
    assert list(TWO_CONDITIONS.needed({"audio_guidance": 5.0, "identity_guidance": 2.0})) == [*made]


def watched(stage: Stage) -> list[Condition]:
    """The conditions the stage will be evaluated with."""
    seen: list[Condition] = []
    stage.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    return seen


@pytest.mark.parametrize("name", ["keyframe", "interpolation"])
def test_guided_inside_the_interval_and_conditional_outside(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    scales = {"audio_guidance": 3.0, "identity_guidance": 1.5}
    with torch.no_grad():
        denoise = guide(stage, given.windows, scales, (0.5, 4.0))
        parts = [
            stage.condition(given.windows, audio=audio, reference=reference)
            for audio, reference in ((False, False), (False, True), (True, True))
        ]
        expected = {
            sigma: [stage(given.noise, torch.tensor(sigma), part) for part in parts]
            for sigma in (0.1, 0.5, 2.0, 4.0, 9.0)
        }
        seen = watched(stage)
        for sigma, (neither, identity, both) in expected.items():
            seen.clear()
            result = denoise(given.noise, torch.tensor(sigma))
            inside = 0.5 <= sigma <= 4.0
            assert len(seen) == TWO_CONDITIONS.evaluations(sigma, (0.5, 4.0), scales) == (3 if inside else 1)
            wanted = 3.0 * (both - identity) + 1.5 * (identity - neither) + neither if inside else both
            torch.testing.assert_close(result, wanted)
        assert seen[-1].tokens.any()


def test_guided_everywhere_by_default() -> None:
    scales = {"audio_guidance": 5.0, "identity_guidance": 2.0}
    assert all(TWO_CONDITIONS.evaluations(sigma, EVERYWHERE, scales) == 3 for sigma in AYS)


@pytest.mark.parametrize(
    ("audio_guidance", "identity_guidance", "needed"),
    [(5.0, 1.0, [(False, True), (True, True)]), (2.0, 2.0, [(False, False), (True, True)]), (1.0, 1.0, [(True, True)])],
)
def test_what_cancels_out_is_not_evaluated(
    audio_guidance: float, identity_guidance: float, needed: list[tuple[bool, bool]]
) -> None:
    stage, given = small_stage("keyframe"), inputs("keyframe")
    scales = {"audio_guidance": audio_guidance, "identity_guidance": identity_guidance}
    with torch.no_grad():
        denoise = guide(stage, given.windows, scales)
        conditions = {
            name: stage.condition(given.windows, audio=audio, reference=reference)
            for name, (audio, reference, _) in TWO_CONDITIONS.predictions.items()
        }
        made = {name: stage(given.noise, torch.tensor(2.0), condition) for name, condition in conditions.items()}
        expected = TWO_CONDITIONS.combine(**made, **scales)
        seen = watched(stage)
        torch.testing.assert_close(denoise(given.noise, torch.tensor(2.0)), expected)
    assert TWO_CONDITIONS.evaluations(2.0, EVERYWHERE, scales) == len(seen)
    assert [(bool(condition.tokens.any()), bool(condition.reference.any())) for condition in seen] == needed


@pytest.mark.parametrize("name", ["keyframe", "interpolation"])
def test_silent_predictions_share_a_call_that_has_room(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    count, sigma = len(given.windows), torch.tensor(2.0)
    with torch.no_grad():
        expected = guide(stage, given.windows)(given.noise, sigma)
        for most, shared in ((3 * count, [2 * count, count]), (2 * count - 1, [count] * 3)):
            denoise = guide(stage, given.windows, most=most)
            seen = watched(stage)
            torch.testing.assert_close(denoise(given.noise, sigma), expected, rtol=1e-4, atol=1e-5)
            assert [len(condition.known) for condition in seen] == shared
            assert [condition.silent for condition in seen] == [*[True] * (len(shared) - 1), False]


def test_a_rule_of_two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guidance by a weaker copy of the network, both fully conditioned, is a row as well."""
    autoguidance = Guidance(
        predictions={"weak": Prediction(weak=True), "full": Prediction()},
        scales=("audio_guidance",),
        combine=lambda weak, full, audio_guidance: weak + audio_guidance * (full - weak),
        stand_ins=lambda audio_guidance: {"weak": "full"} if audio_guidance == 1 else {},
    )
    row = replace(ROWS["interpolation"], guidance=autoguidance)
    monkeypatch.setitem(ROWS, "interpolation", row)
    stage, weak, given = small_stage("interpolation"), small_stage("interpolation"), inputs("interpolation")
    with torch.no_grad():
        for parameter in weak.parameters():
            parameter.mul_(0.9)
        x, sigma = given.noise, torch.tensor(2.0)
        full, worse = (network(x, sigma, network.condition(given.windows)) for network in (stage, weak))
        assert stage.spec.scales == {"audio_guidance": 5.0}
        for most in (1, 2 * len(x)):
            denoise = guide(stage, given.windows, weak=weak, most=most)
            torch.testing.assert_close(denoise(x, sigma), worse + 5 * (full - worse))
        assert torch.equal(guide(stage, given.windows, {"audio_guidance": 1.0})(x, sigma), full)
        with pytest.raises(ValueError, match="needs a weaker copy of its network"):
            guide(stage, given.windows)
