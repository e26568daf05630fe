"""Schedules, guidance, the samplers of both stages, and the frames that come of them, equal the reference's.

Left out, as no published pipeline uses them: the EDM schedule, normalised and plain guidance.
"""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from keysync.network.euler import euler
from keysync.network.guidance import guide
from keysync.network.schedule import ays_sigmas
from keysync.network.stage import ROWS, SCALE_FACTOR, Condition, Stage, StageSpec, Windows
from keysync.network.unet import UNetConfig
from keysync.systems.keysync.generate import sample
from keysync.systems.keysync.sampling import Sampling
from keysync.vae.vae import load_vae

from .conftest import Golden, relative_error

EXACT = 1e-6
SAMPLER_TOLERANCE = 2e-3


def test_schedules(golden: Golden) -> None:
    vectors = {name: sigmas for name, sigmas in golden.tensors("schedules").items() if name.startswith("ays_")}
    assert vectors
    for name, sigmas in vectors.items():
        # Asked for 10 the reference gives its whole table, which is 11 evaluations.
        evaluations = max(11, int(name.removeprefix("ays_")))
        assert relative_error(ays_sigmas(evaluations), sigmas) < EXACT, name


def test_guidance(golden: Golden) -> None:
    vectors, settings = golden.tensors("guiders"), golden.facts("guiders")["audioref"]
    rule = ROWS["keyframe"].guidance
    numbers = [int(found[1]) for name in vectors if (found := re.fullmatch(r"audioref\.(\d+)\.x", name))]
    assert numbers
    ratios = {setting["i"]: (setting["audio_ratio"], setting["ref_ratio"]) for setting in settings}
    for number in numbers:
        # The reference's order of predictions and scales is that of the rule.
        made = dict(zip(rule.predictions, vectors[f"audioref.{number}.x"].chunk(3), strict=True))
        scales = dict(zip(rule.scales, ratios[number], strict=True))
        ours = rule.combined(made, scales)
        assert relative_error(ours, vectors[f"audioref.{number}.out"]) < EXACT, number


def test_guidance_branches(golden: Golden) -> None:
    """The three evaluations are the three parts of the reference's batch, in its order."""
    vectors = {key.removeprefix("prep."): value for key, value in golden.tensors("guiders").items()}
    tokens, concat = vectors["c.crossattn"], vectors["c.concat"]
    (b, t, channels), size = tokens.shape, concat.shape[-2:]
    stage = passing_tokens(channels)
    known = vectors.get("c.gt", torch.zeros(b, 4, t, *size)).transpose(1, 2)
    mask = vectors.get("c.masks", torch.ones(b, 1, t, *size)).transpose(1, 2)
    seen: list[tuple[Tensor, Tensor, Condition]] = []
    with torch.no_grad(), stage.register_forward_pre_hook(lambda _, given: seen.append(given)):
        features = tokens[:, :, None].expand(-1, -1, 2, -1)
        denoise = guide(stage, Windows(features, concat * SCALE_FACTOR, known, mask))
        denoise(vectors["x"].unflatten(0, (b, t)), vectors["s"][0])
    assert len(seen) == 3
    conditions = [condition for _, _, condition in seen]
    ours = {
        "x": torch.cat([x.flatten(0, 1) for x, _, _ in seen]),
        "s": torch.cat([sigma.expand(b * t) for _, sigma, _ in seen]),
        "crossattn": torch.cat([condition.tokens for condition in conditions]),
        "concat": torch.cat([condition.reference[:, 0] for condition in conditions]),
        "gt": torch.cat([condition.known for condition in conditions]).transpose(1, 2),
        "masks": torch.cat([condition.mask for condition in conditions]).transpose(1, 2),
    }
    for part, tensor in ours.items():
        if f"out.{part}" in vectors:
            assert relative_error(tensor, vectors[f"out.{part}"]) < EXACT, part
    assert {"out.x", "out.crossattn", "out.concat"} <= vectors.keys()


def passing_tokens(channels: int) -> Stage:
    """A stage whose projection leaves features as they are; its network does not matter."""
    unet = UNetConfig(8, model_channels=32, channel_mult=(1,), attention=(False,), context_dim=channels, head_dim=32)
    stage = Stage(StageSpec("keyframe", unet, audio_channels=channels))
    with torch.no_grad():
        stage.audio_projection.weight.copy_(torch.eye(channels))
        stage.audio_projection.bias.zero_()
    return stage


def keyframe_inputs(golden: Golden) -> tuple[Windows, Tensor]:
    vectors = golden.tensors("sampler_keyframe")
    identity = vectors["embeddings"][:1].expand(len(vectors["gt_list"]), -1, -1, -1)
    return Windows(vectors["audio_list"], identity, vectors["gt_list"], vectors["masks_list"]), vectors["noise"]


def interpolation_inputs(golden: Golden) -> tuple[Windows, Tensor]:
    vectors = golden.tensors("sampler_interpolation")
    kept = vectors["keyframes_z"][~vectors["to_remove"]]
    keyframes = torch.stack((kept[:-1], kept[1:]), dim=1)
    windows = Windows(vectors["audio"], keyframes, vectors["gt"], vectors["masks"])
    return windows, vectors["noise"].unflatten(0, vectors["audio"].shape[:2])


def test_keyframes(golden: Golden, stages: dict[str, Stage]) -> None:
    (windows, noise), expected = keyframe_inputs(golden), golden.tensors("sampler_keyframe")["samples_z"]
    alone, together = (sample(stages["keyframe"], windows, noise, Sampling(group=group)) for group in (1, len(windows)))
    assert relative_error(alone.flatten(0, 1), expected) < SAMPLER_TOLERANCE
    assert relative_error(together.flatten(0, 1), expected) < SAMPLER_TOLERANCE
    assert relative_error(together, alone) < SAMPLER_TOLERANCE


def test_interpolation(golden: Golden, stages: dict[str, Stage]) -> None:
    (windows, noise), vectors = interpolation_inputs(golden), golden.tensors("sampler_interpolation")
    ours = sample(stages["interpolation"], windows, noise, Sampling(group=2))
    assert relative_error(ours.flatten(0, 1), vectors["latents_before_decode"]) < SAMPLER_TOLERANCE
    assert torch.equal(ours[:, [0, -1]], windows.reference)


@pytest.mark.parametrize("name", ["keyframe", "interpolation"])
def test_trajectory(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    vectors, sigmas = golden.tensors(f"sampler_{name}"), ays_sigmas()
    expected = torch.stack((sigmas[:-1], sigmas[1:]), dim=1)
    assert relative_error(expected, vectors["traj_sigma"]) < EXACT
    if "traj" not in vectors:
        pytest.skip(golden.lacks("a trajectory"))
    windows, noise = keyframe_inputs(golden) if name == "keyframe" else interpolation_inputs(golden)
    part = slice(0, vectors["traj"].shape[1] // noise.shape[1])
    errors: list[float] = []

    def compare(step: int, x: Tensor) -> None:
        errors.append(relative_error(x.flatten(0, 1), vectors["traj"][step]))

    with torch.no_grad():
        euler(guide(stages[name], windows[part]), noise[part], sigmas, compare)
    assert len(errors) == len(vectors["traj"])
    assert max(errors) < SAMPLER_TOLERANCE, errors


def test_video(golden: Golden) -> None:
    vectors = golden.tensors("sampler_interpolation")
    windows = vectors["latents_before_decode"].unflatten(0, vectors["audio"].shape[:2])
    # Neighbouring windows share a frame, which both decode to the same picture.
    latents = torch.cat([windows[0], *(window[1:] for window in windows[1:])])
    vae = load_vae(golden.path("keyframe_checkpoint.safetensors"))
    frames = (vae.decode(latents) * 255).to(torch.uint8).movedim(-1, 1)
    expected = vectors["video_uint8"]
    assert frames.shape == expected.shape
    assert (frames.int() - expected.int()).abs().max() <= 1
