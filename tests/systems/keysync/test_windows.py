"""A clip streamed in batches gives the frames of the whole computed at once, and holds one batch of it alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import keysync.systems.keysync.windows
from keysync.errors import KeySyncError
from keysync.network.noise import Noise, draw
from keysync.network.stage import Condition, Stage, Windows
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.plan import Plan
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.keysync.windows import ClipSpeech, LatentStream, Run, generate_clip
from keysync.systems.renderer import Account, Later

from ...clips import CheapStages

SAMPLING = Sampling(evaluations=10)
# A first window and more, one batch of keyframes (13 windows: 170 frames) and more.
LENGTHS = [1, 5, 13, 14, 15, 27, 40, 156, 157, 158, 169, 170, 171, 340]


class SmallVAE:
    """Decodes a latent to a picture of its own numbers."""

    batch, downscale, encoder, source = 4, 8, "none", "small"

    def decode(self, latents: Tensor) -> Tensor:
        return latents[:, :3].movedim(1, -1)


@pytest.fixture
def cheap(models: Models, monkeypatch: pytest.MonkeyPatch) -> Models:
    """Models whose stages cost nothing."""
    CheapStages().install(monkeypatch)
    vae: Any = SmallVAE()
    return replace(models, vae=vae)


def clip_of(models: Models, frames: int) -> tuple[Tensor, Tensor, ClipSpeech]:
    """Latents, masks and speech of a clip: random, the same for each call."""
    spec = models.keyframe.spec
    generator = torch.Generator().manual_seed(frames)
    latents = torch.randn(frames, 4, *spec.latent_size, generator=generator)
    masks = torch.zeros(frames, 1, *spec.latent_size)
    masks[..., spec.latent_size[0] // 2 :, 1:-1] = 1
    speech = [torch.randn(frames, 2, spec.audio_channels, generator=generator) for _ in range(2)]
    return latents, masks, ClipSpeech(*speech)


def run_of(models: Models, seed: int = 0, sampling: Sampling = SAMPLING) -> Run:
    return Run(models, sampling, Noise.from_seed(seed), lambda _: nullcontext())


def streamed(run: Run, latents: Tensor, masks: Tensor, speech: ClipSpeech) -> Tensor:
    drawn = generate_clip(run, zip(latents, masks, strict=True), speech)
    return torch.stack([one.make() if isinstance(one, Later) else one for one in drawn])


def at_once(run: Run, latents: Tensor, masks: Tensor, speech: ClipSpeech) -> Tensor:
    """The same from all batches in one call, all windows in one call, then the decoder."""
    sample = vars(keysync.systems.keysync.windows)["sample"]  # or what stands in for it
    plan = Plan(len(latents), run.models.keyframe.spec.window)
    batches = torch.tensor([[plan.index(frame) for frame in batch] for batch in plan.batches])
    noise = torch.stack([draw(run.noise.keyframes, latents[batch].shape) for batch in batches])
    identities = latents[:1].expand(len(batches), -1, -1, -1)
    given = Windows(speech.keyframe[batches], identities, latents[batches], masks[batches])
    keyframes = sample(run.models.keyframe, given, noise, run.sampling)
    made = {
        frame: keyframes[number, slot + 1]
        for number in range(len(plan.batches))
        for slot, frame in enumerate(plan.fresh_keyframes(number))
    }
    windows = torch.tensor([[plan.index(frame) for frame in range(first, last + 1)] for first, last in plan.windows])
    noise = torch.stack([draw(run.noise.windows, latents[window].shape) for window in windows])
    ends = torch.stack([torch.stack([made[first], made[last]]) for first, last in plan.windows])
    given = Windows(speech.interpolation[windows], ends, latents[windows], masks[windows])
    between = sample(run.models.interpolation, given, noise, run.sampling)
    frames = [between[0, :1], *(window[1:] for window in between)]
    return run.models.vae.decode(torch.cat(frames)[: len(latents)])


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("group", [1, 5])
def test_streaming_equals_all_at_once(frames: int, group: int, cheap: Models) -> None:
    clip = clip_of(cheap, frames)
    result = streamed(run_of(cheap, sampling=replace(SAMPLING, group=group)), *clip)
    expected = at_once(run_of(cheap), *clip)
    assert result.shape[0] == frames
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 15])
def test_the_network_gives_the_same_whatever_the_group(frames: int, models: Models) -> None:
    clip = clip_of(models, frames)
    steps: list[int] = []
    result = streamed(replace(run_of(models), on_step=steps.append), *clip)
    expected = at_once(run_of(models, sampling=replace(SAMPLING, group=4)), *clip)
    assert result.shape == (frames, *models.keyframe.spec.image_size, 3)
    assert 0 <= float(result.min()) < float(result.max()) <= 1
    assert torch.allclose(result, expected, atol=1e-3)
    assert sum(steps) == Plan(frames).evaluations(30, 30)


def test_a_seed_means_one_result(cheap: Models) -> None:
    clip = clip_of(cheap, 30)
    first, again, other = (streamed(run_of(cheap, seed), *clip) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


def test_no_two_windows_of_any_seeds_share_their_noise(cheap: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither within a clip, nor in the next clip of the dub, nor in the other stage, nor under another seed."""
    stages = CheapStages().install(monkeypatch)
    seeds = [7, 8, 7 + 2**32, 2**64 - 1, -1]
    for seed in seeds:
        run = run_of(cheap, seed)
        for _ in range(2):
            streamed(run, *clip_of(cheap, 200))
    # 2 clips of 200 frames: 2 batches of keyframes, 16 windows between.
    assert len(stages.noise) == len(seeds) * 2 * (2 + 16)
    likeness = torch.corrcoef(torch.stack(stages.noise).flatten(1)).fill_diagonal_(0)
    assert likeness.abs().max() < 0.2


def test_what_the_mask_leaves_is_kept(cheap: Models) -> None:
    latents, masks, speech = clip_of(cheap, 40)
    result = streamed(run_of(cheap), latents, masks, speech)
    kept = (masks == 0).expand(-1, 3, -1, -1).movedim(1, -1)
    assert torch.equal(result[kept], latents[:, :3].movedim(1, -1)[kept])
    assert not torch.isclose(result[~kept], latents[:, :3].movedim(1, -1)[~kept], atol=1e-4).all()


def test_memory_does_not_grow_with_the_clip(cheap: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    most: dict[int, int] = {}
    take = LatentStream.take

    def watched(self: LatentStream, frames: list[int]) -> tuple[Tensor, Tensor]:
        taken = take(self, frames)
        most[length] = max(most.get(length, 0), len(self._held))
        return taken

    monkeypatch.setattr(LatentStream, "take", watched)
    for length in (100, 500, 1200):
        streamed(run_of(cheap), *clip_of(cheap, length))
    assert most[500] <= 13 * 13 + 15
    assert most[1200] == most[500]


def test_frames_come_before_the_whole_clip_is_read(cheap: Models) -> None:
    latents, masks, speech = clip_of(cheap, 400)
    read: list[int] = []

    def encoded() -> Iterator[tuple[Tensor, Tensor]]:
        for number, pair in enumerate(zip(latents, masks, strict=True)):
            read.append(number)
            yield pair

    frames = generate_clip(run_of(cheap), encoded(), speech)
    next(frames)
    assert len(read) <= 13 * 13 + 1
    assert len(list(frames)) == 399
    assert len(read) == 400


def test_a_stream_gives_what_it_holds_and_keeps_the_anchor() -> None:
    stream = LatentStream((torch.full((4, 1, 1), float(n)), torch.full((1, 1, 1), float(n))) for n in range(50))
    latents, masks = stream.take([0, 30, 30, 7])
    assert latents[:, 0, 0, 0].tolist() == masks[:, 0, 0, 0].tolist() == [0, 30, 30, 7]
    stream.forget_before(30)
    assert stream.take([0, 30, 31])[0].shape == (3, 4, 1, 1)
    with pytest.raises(KeyError):
        stream.take([29])


@pytest.mark.parametrize("fit", [1, 3])
def test_windows_that_a_gpu_does_not_hold_are_sampled_in_halves(
    fit: int, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the numbers of those that are sampled together, and the account says how many at once."""
    sampling = replace(SAMPLING, group=6)
    clip = clip_of(models, 80)
    expected = streamed(run_of(models, sampling=sampling), *clip)
    calls, network = [], Stage.network

    def limited(stage: Stage, network_input: Tensor, c_noise: Tensor, condition: Condition) -> Tensor:
        calls.append(len(network_input))
        if len(network_input) > fit:
            raise torch.OutOfMemoryError
        return network(stage, network_input, c_noise, condition)

    monkeypatch.setattr(Stage, "network", limited)
    smaller: list[tuple[str, int]] = []
    account = Account(smaller=lambda what, count: smaller.append((what, count)))
    made = streamed(replace(run_of(models, sampling=sampling), account=account), *clip)
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3)
    assert max(calls) == 6
    assert {what for what, _ in smaller} == {"the interpolation model"}
    assert min(count for _, count in smaller) == fit


def test_a_window_that_a_gpu_does_not_hold_is_refused(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Stage, "network", full)
    with pytest.raises(
        KeySyncError, match=r"^the GPU's memory does not hold the keyframe model at work on one window: "
    ):
        streamed(run_of(models), *clip_of(models, 20))


def test_a_small_card_holds_one_stage_at_a_time(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[str, str]] = []

    def to(stage: Stage, device: Any) -> Stage:
        moved.append((stage.spec.name, str(device)))
        return stage

    clip = clip_of(models, 20)
    expected = streamed(run_of(models), *clip)
    monkeypatch.setattr(Stage, "to", to)
    made = streamed(run_of(replace(models, card=torch.device("cuda:0"))), *clip)
    assert torch.allclose(made, expected, atol=1e-4)
    keyframe, interpolation = ("keyframe", "cuda:0"), ("interpolation", "cuda:0")
    first = [("interpolation", "cpu"), keyframe, ("keyframe", "cpu"), interpolation]
    assert moved == [*first, ("keyframe", "cpu"), interpolation]  # two windows, one at a time
