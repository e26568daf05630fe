"""The sampling nodes: the method's numbers through the core's sampling loop, cancelled, and wired wrongly."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import comfy.utils
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from safetensors.torch import load_file
from torch import Tensor

from nodes import SetLatentNoiseMask

FRAMES = 20  # two windows of 14 with padding, one batch of keyframes
SEED = 7
PUBLISHED = {"audio_guidance": 5.0, "identity_guidance": 2.0}
AS_THE_MODEL_WANTS = {"audio_guidance": 0.0, "identity_guidance": 0.0}


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def nodes(extension: ModuleType) -> Any:
    return part("nodes.sampling")


@pytest.fixture(scope="module")
def models(extension: ModuleType, tiny: Path) -> Iterator[dict[str, Any]]:
    """Both stages as MODEL."""
    load = part("nodes.host.model").load_model
    yield {stage: load(tiny / f"{stage}.safetensors") for stage in ("keyframe", "interpolation")}
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="module")
def stages(extension: ModuleType, tiny: Path) -> dict[str, Any]:
    """Both stages of the library, from the same files."""
    load = part("keysync.weights.checkpoint").load_stage
    names = ("keyframe", "interpolation")
    return {name: load(tiny / f"{name}.safetensors", dtype=torch.float32) for name in names}


@pytest.fixture(scope="module")
def latent(models: dict[str, Any]) -> dict[str, Tensor]:
    """Latents of a clip as VAE Encode gives them, with the mask of Set Latent Noise Mask at the crops' resolution."""
    spec = models["keyframe"].model.spec
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(FRAMES, 4, *spec.latent_size, generator=generator)
    mask = torch.zeros(FRAMES, *spec.image_size)
    for frame in range(FRAMES):  # edges off the latent's grid, where blending would differ
        mask[frame, 21 + frame % 5 :, 13 : 50 + frame % 3] = 1.0
    (masked,) = SetLatentNoiseMask().set_mask({"samples": samples}, mask)
    return masked


@pytest.fixture(scope="module")
def keyframes(nodes: Any, models: dict[str, Any], latent: dict[str, Tensor]) -> dict[str, Tensor]:
    return sample_keyframes(nodes, models, latent)


def speech(model: Any, frames: int = FRAMES, channels: int | None = None, encoder: str | None = None) -> Any:
    spec = model.model.spec
    generator = torch.Generator().manual_seed(len(spec.name))
    rows = torch.randn(2 * frames, channels or spec.audio_channels, generator=generator)
    features = part("keysync.speech.features").SpeechFeatures(rows, encoder or spec.speech_encoder)
    return part("nodes.host.sockets").Speech(features, 25.0)


def sample_keyframes(nodes: Any, models: dict[str, Any], latent: dict[str, Any], **changes: Any) -> dict[str, Tensor]:
    model = changes.pop("model", models["keyframe"])
    inputs = {"speech": speech(models["keyframe"]), "latent": latent, "seed": SEED, **changes}
    out: dict[str, Tensor]
    (out,) = nodes.SampleKeyframes.execute(model, **{**PUBLISHED, **inputs}).args
    return out


def interpolate(nodes: Any, models: dict[str, Any], latent: dict[str, Any], **changes: Any) -> dict[str, Tensor]:
    model = changes.pop("model", models["interpolation"])
    inputs = {"speech": speech(models["interpolation"]), "latent": latent, "seed": SEED, **changes}
    out: dict[str, Tensor]
    (out,) = nodes.InterpolateKeyframes.execute(model, **{**PUBLISHED, **inputs}).args
    return out


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max().clamp_min(1e-30))


def library_clip(stages: dict[str, Any], models: dict[str, Any], latent: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Keyframes and frames of the clip as the command line makes them, times 0.18215."""
    generate, masks = part("keysync.systems.keysync.generate"), part("keysync.face.masks")
    frames, Windows = len(latent["samples"]), part("keysync.network.stage").Windows
    plan, noise = part("keysync.systems.keysync.plan").Plan(frames), part("keysync.network.noise")
    streams = noise.Noise.from_seed(SEED)
    known = latent["samples"] * 0.18215
    mask = masks.to_latent(latent["noise_mask"].reshape(frames, 1, *latent["noise_mask"].shape[-2:]), known.shape[-2:])
    features = {name: speech(models[name], frames).for_frames(frames) for name in stages}
    made, sampling = [], generate.Sampling()
    for number, batch in enumerate(plan.batches):
        shown = [plan.index(frame) for frame in batch]
        draw = noise.draw(streams.keyframes, known[shown].shape)
        windows = Windows(features["keyframe"][shown][None], known[:1], known[shown][None], mask[shown][None])
        latents = generate.sample(stages["keyframe"], windows, draw[None], sampling)[0]
        made.append(latents[1 : 1 + len(plan.fresh_keyframes(number))])
    keyframes = torch.cat(made)
    out = []
    for number, (first, last) in enumerate(plan.windows):
        shown = [plan.index(frame) for frame in range(first, last + 1)]
        draw = noise.draw(streams.windows, known[shown].shape)
        ends = keyframes[number : number + 2][None]
        windows = Windows(features["interpolation"][shown][None], ends, known[shown][None], mask[shown][None])
        latents = generate.sample(stages["interpolation"], windows, draw[None], sampling)[0]
        out.append(latents if number == 0 else latents[1:])
    return keyframes, torch.cat(out)[:frames]


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_both_samplers_give_the_golden_numbers(stage: str, extension: ModuleType, golden_folder: Path) -> None:
    facts = json.loads((golden_folder / f"{stage}_checkpoint.json").read_text())
    head_dim = facts["config"]["network_config"]["params"]["num_head_channels"]
    file = golden_folder / f"{stage}_checkpoint.safetensors"
    golden = {key: value.float() for key, value in load_file(golden_folder / f"sampler_{stage}.safetensors").items()}
    loader, guiders = part("nodes.host.model"), part("nodes.host.guider")
    with pytest.MonkeyPatch.context() as patch:
        open_stage = loader.open_stage
        patch.setattr(loader, "open_stage", lambda path, **how: open_stage(path, head_dim=head_dim, **how))
        model = loader.load_model(file)
    if stage == "keyframe":
        known, mask, features = golden["gt_list"], golden["masks_list"], golden["audio_list"]
        reference = golden["embeddings"].expand(len(known), -1, -1, -1)
        wanted = golden["samples_z"].reshape(known.shape) if "samples_z" in golden else None
    else:
        known, mask, features = golden["gt"], golden["masks"], golden["audio"]
        count = len(known)
        ends = golden["keyframes_z"][torch.tensor(kept_keyframes(golden_folder, len(golden["keyframes_z"]), count))]
        reference = torch.stack((ends[:-1], ends[1:]), dim=1)
        wanted = golden["latents_before_decode"].reshape(known.shape) if "latents_before_decode" in golden else None
    noise = golden["noise"].reshape(known.shape)
    guider = guiders.WindowGuider(model)
    windows = part("keysync.network.stage").Windows(features, reference, known, mask)
    trajectory: list[Tensor] = []
    sampled = guider.sample_windows(
        windows,
        noise,
        comfy.samplers.sampler_object("euler"),
        part("keysync.network.schedule").ays_sigmas().float(),
        callback=lambda step, x0, x, steps: trajectory.append(x.clone()),
    )
    if stage == "interpolation":
        sampled[:, [0, -1]] = reference
    checked = 0
    if wanted is not None:
        assert relative_error(sampled, wanted) < 2e-3
        checked += 1
    if "traj" in golden:  # after each step; the callback sees x before it
        for step, x in enumerate(trajectory[1:]):
            theirs = golden["traj"][step]
            assert relative_error(x[: len(theirs)], theirs) < 2e-3, step
            checked += 1
    assert checked
    assert guider.windows is None
    comfy.model_management.unload_all_models()


def kept_keyframes(folder: Path, given: int, windows: int) -> list[int]:
    """Which of the golden keyframes the windows lie between: copies of the anchor are removed, the rest not reached."""
    remove = json.loads((folder / "sampler_interpolation.json").read_text())["to_remove"]
    return [number for number in range(given) if not remove[number]][: windows + 1]


def test_the_nodes_equal_the_command_line(
    nodes: Any, models: dict[str, Any], stages: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor]
) -> None:
    theirs_keyframes, theirs = library_clip(stages, models, latent)
    assert relative_error(keyframes["samples"] * 0.18215, theirs_keyframes) < 2e-3
    ours = interpolate(nodes, models, latent, keyframes=keyframes)["samples"]
    assert relative_error(ours * 0.18215, theirs) < 2e-3
    assert torch.equal(ours[::13], keyframes["samples"][:2])


def test_more_than_one_batch_of_keyframes(
    nodes: Any, models: dict[str, Any], stages: dict[str, Any], latent: dict[str, Tensor]
) -> None:
    frames = 13 * 13 + 2  # the fewest that need two batches
    long = {name: part_.repeat(frames // FRAMES + 1, 1, 1, 1)[:frames] for name, part_ in latent.items()}
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-4:]  # the last steps of the table, for time's sake
    guider = part("nodes.host.clip_guider").ClipGuider(models["keyframe"], speech(models["keyframe"], frames))
    layout = guider.layout(frames)
    assert layout.slots.shape == (2, 14)
    assert layout.slots.flatten()[layout.wanted].tolist() == [*range(0, 170, 13), 170]
    out = sample_keyframes(nodes, models, long, speech=guider.speech, sigmas=few)
    assert out["samples"].shape[0] == 15


@pytest.mark.parametrize("frames", [1, 2, 13, 14, 15, 27, 40])
def test_every_frame_once_and_in_order(frames: int, extension: ModuleType) -> None:
    layouts, plan = part("nodes.host.layout"), part("keysync.systems.keysync.plan").Plan(frames)
    layout = layouts.frame_layout(plan)
    assert layout.slots.flatten()[layout.wanted].tolist() == list(range(frames))
    layout = layouts.window_layout(plan)
    own = [frame for first, last in plan.windows for frame in range(first, min(last, frames - 1) + 1)]
    assert layout.slots.flatten()[layout.wanted].tolist() == own
    layout = layouts.keyframe_layout(plan)
    shown = [plan.index(frame) for frame in plan.keyframes]
    assert layout.slots.flatten()[layout.wanted].tolist() == shown


def test_a_model_is_guided_as_its_file_says(
    nodes: Any, models: dict[str, Any], stages: dict[str, Any], latent: dict[str, Tensor], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """At an identity guidance of 1 the network is evaluated twice a step, not three times."""
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-4:]
    stage, wanted = copy.copy(stages["keyframe"]), {"audio_guidance": 3.0, "identity_guidance": 1.0}
    stage.spec = replace(stage.spec, **wanted)
    part("keysync.weights.checkpoint").save_stage(stage, tmp_path / "keyframe.safetensors")
    own = part("nodes.host.model").load_model(tmp_path / "keyframe.safetensors")
    evaluated: list[int] = []
    batch = comfy.samplers.calc_cond_batch

    def counted(model: Any, conds: list[Any], *rest: Any) -> Any:
        evaluated.append(len(conds))
        return batch(model, conds, *rest)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", counted)
    made = sample_keyframes(nodes, models, latent, model=own, sigmas=few, **AS_THE_MODEL_WANTS)["samples"]
    assert set(evaluated) == {2}
    asked = sample_keyframes(nodes, models, latent, sigmas=few, **wanted)["samples"]
    published = sample_keyframes(nodes, models, latent, sigmas=few)["samples"]
    as_published = sample_keyframes(nodes, models, latent, sigmas=few, **AS_THE_MODEL_WANTS)["samples"]
    assert torch.equal(made, asked)
    assert torch.equal(published, as_published)
    assert relative_error(made, published) > 1e-3


def test_a_distilled_model_has_its_own_levels_and_no_guidance(
    nodes: Any, models: dict[str, Any], stages: dict[str, Any], latent: dict[str, Tensor], tmp_path: Path,
) -> None:  # fmt: skip
    levels = (700.0, 3.0)
    stage = copy.copy(stages["keyframe"])
    stage.spec = replace(stage.spec, guidance_baked=True, audio_guidance=1.0, identity_guidance=1.0, levels=levels)
    part("keysync.weights.checkpoint").save_stage(stage, tmp_path / "keyframe.safetensors")
    own = part("nodes.host.model").load_model(tmp_path / "keyframe.safetensors")
    made = sample_keyframes(nodes, models, latent, model=own, **AS_THE_MODEL_WANTS)["samples"]
    unguided = {"audio_guidance": 1.0, "identity_guidance": 1.0}
    asked = sample_keyframes(nodes, models, latent, sigmas=torch.tensor([*levels, 0.0]), **unguided)["samples"]
    assert torch.equal(made, asked)
    error = part("keysync.errors").KeySyncError
    for scales in ({"audio_guidance": 4.0}, {"identity_guidance": 2.0}):
        with pytest.raises(error, match="is distilled with its guidance: expected the model's default"):
            sample_keyframes(nodes, models, latent, model=own, **AS_THE_MODEL_WANTS | scales)
    guider = part("nodes.host.clip_guider").ClipGuider(own, speech(own))
    guider.cfg = 3.0  # as CFG Override does
    with pytest.raises(error, match="the audio guidance is 3 but the keyframe model is distilled"):
        nodes.sample(guider, latent, part("keysync.network.noise").Noise.from_seed(SEED).keyframes)


def test_groups_of_windows_give_the_same(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-4:]
    guiders, network = part("nodes.host.guider"), models["interpolation"].model
    x = torch.zeros(2, 14, 4, *network.spec.latent_size)
    with monkeypatch.context() as patch:
        for free, expected in ((0.0, 1), (1e15, 2)):
            patch.setattr(comfy.model_management, "get_free_memory", lambda *_, free=free: free)
            assert guiders.windows_at_once(network, x, 3) == expected
    made = []
    monkeypatch.setattr(guiders, "on_cpu", lambda _: False)  # where each window is evaluated alone
    for group in (1, 2):
        monkeypatch.setattr(guiders, "windows_at_once", lambda *_, group=group: group)
        made.append(interpolate(nodes, models, latent, keyframes=keyframes, sigmas=few)["samples"])
    assert relative_error(*made) < 2e-3


def test_the_core_is_asked_to_make_room_for_one_window(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    network = models["keyframe"].model
    required = network.memory_required

    def watched(shape: Any, **kwargs: Any) -> float:
        asked.append(shape[0])
        return float(required(shape, **kwargs))

    monkeypatch.setattr(network, "memory_required", watched)
    monkeypatch.setattr(part("nodes.host.guider"), "windows_at_once", lambda *_: 1)
    guider = part("nodes.host.clip_guider").ClipGuider(models["keyframe"], speech(models["keyframe"], 200))
    samples = latent["samples"].repeat(10, 1, 1, 1)
    guider.sample(
        samples,
        samples,
        comfy.samplers.sampler_object("euler"),
        torch.tensor([0.034, 0.0]),
        denoise_mask=torch.ones(1, *models["keyframe"].model.spec.latent_size),
        disable_pbar=True,
    )
    assert max(asked) == 3 * 14  # the three guidance branches of one of the two batches


def test_the_guider_in_sampler_custom_advanced(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor]
) -> None:
    sampler = comfy.samplers.sampler_object("euler")
    (sigmas,) = nodes.KeySyncSigmas.execute(11).args
    (guider,) = nodes.KeySyncGuider.execute(models["keyframe"], speech(models["keyframe"]), **PUBLISHED).args

    class Drawn:
        """The noise that the sampling node draws."""

        seed = SEED

        def generate_noise(self, latent: dict[str, Tensor]) -> Tensor:
            noise = part("keysync.network.noise")
            shape = (14, *latent["samples"].shape[1:])
            drawn: Tensor = noise.draw(noise.Noise.from_seed(SEED).keyframes, shape)
            return drawn

    out, denoised = SamplerCustomAdvanced.execute(Drawn(), guider, sampler, sigmas, latent).args
    assert torch.equal(out["samples"], keyframes["samples"])
    assert denoised["samples"].shape == out["samples"].shape

    few = sigmas[-4:]
    inputs = {"keyframes": keyframes, **PUBLISHED}
    (guider,) = nodes.KeySyncGuider.execute(models["interpolation"], speech(models["interpolation"]), **inputs).args
    noise = Noise_RandomNoise(SEED)  # one for each frame, as the core's node draws it
    out, denoised = SamplerCustomAdvanced.execute(noise, guider, sampler, few, latent).args
    again, _ = SamplerCustomAdvanced.execute(noise, guider, sampler, few, latent).args
    assert out["samples"].shape == denoised["samples"].shape == latent["samples"].shape
    assert torch.equal(out["samples"], again["samples"])
    assert torch.equal(out["samples"][::13], keyframes["samples"][:2])


def test_known_pixels_stay(nodes: Any, models: dict[str, Any], latent: dict[str, Tensor]) -> None:
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-4:]
    closed = {**latent, "noise_mask": torch.zeros_like(latent["noise_mask"])}
    out = sample_keyframes(nodes, models, closed, sigmas=few)["samples"]
    assert torch.allclose(out, latent["samples"][[0, 13, 19]], atol=1e-4)
    free = {**latent, "noise_mask": torch.ones_like(latent["noise_mask"])}
    assert not torch.allclose(sample_keyframes(nodes, models, free, sigmas=few)["samples"], out, atol=1e-2)


def test_identity_seed_and_sampler_matter(nodes: Any, models: dict[str, Any], latent: dict[str, Tensor]) -> None:
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-4:]
    plain = sample_keyframes(nodes, models, latent, sigmas=few)["samples"]
    first = {"samples": latent["samples"][:1]}
    assert torch.equal(sample_keyframes(nodes, models, latent, sigmas=few, identity=first)["samples"], plain)
    other = {"samples": latent["samples"][7:8]}
    heun = comfy.samplers.sampler_object("heun")
    for change in ({"identity": other}, {"seed": SEED + 1}, {"sampler": heun}):
        assert not torch.equal(sample_keyframes(nodes, models, latent, sigmas=few, **change)["samples"], plain), change


def test_samplers_that_add_noise_add_each_stages_own(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor]
) -> None:
    seeds: list[int] = []

    def still(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], **_: Any) -> Tensor:
        seeds.append(extra_args["seed"])
        return x

    sampler = comfy.samplers.KSAMPLER(still)
    for seed in (SEED, SEED, SEED + 1, 2**64 - 1):
        sample_keyframes(nodes, models, latent, sampler=sampler, seed=seed)
        interpolate(nodes, models, latent, keyframes=keyframes, sampler=sampler, seed=seed)
    assert seeds[:2] == seeds[2:4]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_progress_after_every_window(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: told.append((value, total)))
    monkeypatch.setattr(part("nodes.host.guider"), "windows_at_once", lambda *_: 1)
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-3:]
    for sampler in ("euler", "heun"):
        told.clear()
        chosen = comfy.samplers.sampler_object(sampler)
        interpolate(nodes, models, latent, keyframes=keyframes, sigmas=few, sampler=chosen)
        # The core passes on the first and the last, and what lies between when it has not just shown another.
        assert {told[0], told[-1]} == {(1, 4), (4, 4)}, sampler
        assert told == sorted(told)


def test_cancelled_within_one_evaluation(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(part("nodes.host.guider"), "windows_at_once", lambda *_: 1)
    evaluations = []
    network = models["interpolation"].model

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        evaluations.append(1)
        out: Tensor = type(network).apply_model(network, *args, **kwargs)
        comfy.model_management.interrupt_current_processing()
        return out

    with monkeypatch.context() as patch:
        patch.setattr(network, "apply_model", watched)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            interpolate(nodes, models, latent, keyframes=keyframes)
    assert len(evaluations) <= 3  # the guidance branches of one window
    assert not comfy.model_management.processing_interrupted()
    few = part("keysync.network.schedule").ays_sigmas(10).float()[-2:]
    assert interpolate(nodes, models, latent, keyframes=keyframes, sigmas=few)["samples"].isfinite().all()


def test_a_lora_and_small_weights_reach_the_sampled_latents(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor], tiny: Path
) -> None:
    import comfy.sd

    name = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v"
    out, into = comfy.utils.get_attr(models["keyframe"].model, f"{name}.weight").shape
    lora = {f"{name}.lora_up.weight": torch.ones(out, 2), f"{name}.lora_down.weight": torch.ones(2, into)}
    patched, _ = comfy.sd.load_lora_for_models(models["keyframe"], None, lora, 1.0, 0.0)
    with_lora = sample_keyframes(nodes, models, latent, model=patched)["samples"]
    assert relative_error(with_lora, keyframes["samples"]) > 1e-3
    bf16 = part("nodes.host.model").load_model(tiny / "keyframe.safetensors", torch.bfloat16)
    small = sample_keyframes(nodes, models, latent, model=bf16)["samples"]
    assert 0.0 < relative_error(small, keyframes["samples"]) < 0.1


def test_unload_and_low_memory_change_nothing(
    nodes: Any, models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    comfy.model_management.unload_all_models()
    monkeypatch.setattr(comfy.model_management, "vram_state", comfy.model_management.VRAMState.LOW_VRAM)
    assert torch.equal(sample_keyframes(nodes, models, latent)["samples"], keyframes["samples"])


def test_sigmas(nodes: Any, error: type[Exception]) -> None:
    (sigmas,) = nodes.KeySyncSigmas.execute(11).args
    assert sigmas.dtype == torch.float32
    assert len(sigmas) == 12
    assert sigmas[0] == 700
    assert sigmas[-1] == 0
    with pytest.raises(error, match="9 steps are too few"):
        nodes.KeySyncSigmas.execute(9)


def test_every_input_of_every_node_has_a_tooltip(nodes: Any) -> None:
    for node in (*nodes.NODES, *part("nodes.model").NODES):
        schema = node.define_schema()
        assert schema.node_id.startswith("KeySync")
        assert schema.category == "KeySync"
        assert schema.description
        assert all(field.tooltip for field in (*schema.inputs, *schema.outputs)), schema.node_id
        node.GET_SCHEMA()


def test_wrong_wiring_is_refused(
    nodes: Any, error: type[Exception], models: dict[str, Any], latent: dict[str, Tensor], keyframes: dict[str, Tensor]
) -> None:
    first, second = models["keyframe"], models["interpolation"]
    spec = first.model.spec
    height, width = spec.image_size
    foreign = comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), torch.device("cpu"), torch.device("cpu"))
    large = {"samples": torch.zeros(FRAMES, 4, 16, 24)}
    short = {**latent, "noise_mask": latent["noise_mask"][:-1]}
    several = {"samples": torch.zeros(1, 4, FRAMES, *spec.latent_size)}
    other = "wavlm" if spec.speech_encoder == "hubert" else "hubert"

    def refused(message: str, run: Any, **changes: Any) -> None:
        with pytest.raises(error) as caught:
            run(nodes, models, changes.pop("latent", latent), **changes)
        assert message in str(caught.value)

    refused(
        "this is the interpolation model but the keyframe model is needed: choose the keyframe "
        "checkpoint in Load KeySync Model",
        sample_keyframes,
        model=second,
    )
    refused("this is the keyframe model but the interpolation model", interpolate, model=first, keyframes=keyframes)
    refused(
        "the model is Linear, not a KeySync model: load one with Load KeySync Model", sample_keyframes, model=foreign
    )
    refused(
        f"the shape of latents is [{FRAMES}, 4, 16, 24] but the keyframe model needs frames of "
        f"[4, {height // 8}, {width // 8}]: encode crops of {width}x{height} pixels",
        sample_keyframes,
        latent=large,
    )
    refused("but the interpolation model needs frames of", interpolate, latent=large, keyframes=keyframes)
    refused(f"the shape of latents is [1, 4, {FRAMES}", sample_keyframes, latent=several)
    refused("the shape of identity is [20, 4, 16, 24] but the keyframe model", sample_keyframes, identity=large)
    refused("the shape of keyframes is [20, 4, 16, 24] but the interpolation", interpolate, keyframes=large)
    refused(
        f"the noise mask has {FRAMES - 1} frames but the latents have {FRAMES}: make the mask from the same frames, ",
        sample_keyframes,
        latent=short,
    )
    refused(
        f"2 keyframes were given but a clip of {FRAMES} frames has 3: give Sample Keyframes and Interpolate",
        interpolate,
        keyframes={"samples": keyframes["samples"][:2]},
    )
    refused(
        f"the speech was encoded with {other} but the keyframe model was trained with {spec.speech_encoder}: "
        f"load {spec.speech_encoder} in Load Speech Encoder",
        sample_keyframes,
        speech=speech(first, encoder=other),
    )
    refused(
        f"the speech has 5 channels but the keyframe model needs {spec.audio_channels}",
        sample_keyframes,
        speech=speech(first, channels=5),
    )
    refused("the speech covers 10 frames at 25 fps but there are 20", sample_keyframes, speech=speech(first, 10))
    refused("a clip of 0 frames: at least 1 is needed", sample_keyframes, latent={"samples": latent["samples"][:0]})


def test_the_guider_refuses_what_it_cannot_be(
    nodes: Any, error: type[Exception], models: dict[str, Any], keyframes: dict[str, Tensor]
) -> None:
    second = models["interpolation"]
    with pytest.raises(error, match="the interpolation model needs keyframes: connect the output of the keyframe"):
        nodes.KeySyncGuider.execute(second, speech(second), **PUBLISHED)
    first = models["keyframe"]
    with pytest.raises(error, match="this is the keyframe model but the interpolation model is needed"):
        nodes.KeySyncGuider.execute(first, speech(first), keyframes=keyframes, **PUBLISHED)
