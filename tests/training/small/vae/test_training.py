from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from keysync.errors import KeySyncError
from keysync.face.masks import box
from keysync.network.stage import SCALE_FACTOR
from keysync.vae.vae import load_vae
from training.small.vae import training
from training.small.vae.crops import CropStore, PersonCrops, person_file, render_person
from training.small.vae.figures import dark_opening, measure, posterior_mean, round_trip
from training.small.vae.initial_weights import centre, new_vae, plain_weights
from training.small.vae.loss import (
    CROPS,
    KEPT_WEIGHT,
    MOUTH_WEIGHT,
    draw_batch,
    dyed,
    loss_of,
    mouth_box,
    pixel_weights,
    without_time,
)
from training.small.vae.training import Settings, Trainer, first_vae, scaled, write_vae

SIZE = 64
WIDTHS = (64, 64, 64, 96)


@pytest.fixture(scope="module")
def people() -> list[PersonCrops]:
    return [render_person(number, SIZE, 1, 0.0) for number in range(2)]


@pytest.fixture
def store(tmp_path: Path, people: list[PersonCrops]) -> CropStore:
    """People that are rendered already."""
    for number, person in enumerate(people):
        person.save(person_file(tmp_path, number, SIZE))
    return CropStore(tmp_path, SIZE, len(people))


def tiny_vae(seed: int = 0) -> nn.Module:
    vae: nn.Module = new_vae(seed, WIDTHS, 1)
    without_time(vae)
    centre(vae)
    return vae


def test_crops_hold_the_face(people: list[PersonCrops]) -> None:
    for person in people:
        assert person.pictures.shape == (8, SIZE, SIZE, 3)
        assert person.landmarks.shape == (8, 68, 2)
        spread = person.landmarks.max(1) - person.landmarks.min(1)
        assert (person.landmarks > 0).all()
        assert (person.landmarks < SIZE - 1).all()
        assert 0.64 * SIZE < spread.max(1).mean() < 0.78 * SIZE, "a crop is 1.4 times as wide as the face"
    again = render_person(1, SIZE, 1, 0.0)
    np.testing.assert_array_equal(again.pictures, people[1].pictures)
    assert not np.array_equal(people[0].pictures, people[1].pictures)


def test_store_renders_what_is_missing(tmp_path: Path, people: list[PersonCrops]) -> None:
    people[0].save(person_file(tmp_path, 0, SIZE))
    with CropStore(tmp_path, SIZE, 2) as store:
        first, second = store.first(5)
    np.testing.assert_array_equal(first.pictures, people[0].pictures)
    assert second.pictures.shape == (16, SIZE, SIZE, 3)


def test_store_names_a_file_that_is_damaged(tmp_path: Path) -> None:
    person_file(tmp_path, 0, SIZE).write_bytes(b"nothing")
    with CropStore(tmp_path, SIZE, 1) as store, pytest.raises(KeySyncError, match=r"person-000000.*delete it"):
        store.first(1)


def test_batch_follows_from_the_step(people: list[PersonCrops]) -> None:
    first, again, other = (draw_batch(people, 0, step) for step in (0, 0, 1))
    assert first.pictures.shape == (CROPS, 3, SIZE, SIZE)
    assert first.weights.shape == (CROPS, 1, SIZE, SIZE)
    torch.testing.assert_close(first.pictures, again.pictures)
    assert not torch.equal(first.pictures, other.pictures)


def test_what_is_generated_weighs_most(people: list[PersonCrops]) -> None:
    landmarks = people[0].landmarks[0]
    weights = pixel_weights(landmarks, SIZE)
    left, top, right, bottom = mouth_box(landmarks, SIZE)
    assert (weights[top:bottom, left:right] == MOUTH_WEIGHT).all()
    assert (weights == MOUTH_WEIGHT).sum() == (right - left) * (bottom - top)
    generated = box(torch.from_numpy(landmarks), (SIZE, SIZE)).numpy() > 0
    assert (weights[~generated] == KEPT_WEIGHT).all()
    assert set(np.unique(weights[generated])) == {1, MOUTH_WEIGHT}


def test_pale_lips_cost_more_than_dark_ones(people: list[PersonCrops]) -> None:
    batch = draw_batch(people, 0, 0)
    lips = (batch.weights[:1] == MOUTH_WEIGHT).float()

    def cost(change: tuple[float, float, float]) -> float:
        decoded = batch.pictures.clone()
        decoded[:1] += lips * torch.tensor(change)[:, None, None]
        vae = SimpleNamespace(
            encoder=lambda pictures: torch.zeros(len(pictures), 8, 2, 2),
            quant_conv=lambda moments: moments,
            decoder=lambda z, **_: decoded,
        )
        return float(loss_of(vae, batch, torch.Generator().manual_seed(0)).total)

    dark, pale = cost((-0.1, -0.1, -0.1)), cost((-0.1, 0.1, 0.1))
    assert pale > 1.3 * dark


def test_dyed_pictures_keep_their_grey() -> None:
    picture = np.array([[[200.0, 100.0, 50.0], [90.0, 90.0, 90.0]]])
    np.testing.assert_allclose(dyed(picture, 0.0, 1.0), picture)
    np.testing.assert_allclose(dyed(picture, 2 * np.pi / 3, 1.0)[0, 0], (50, 200, 100))
    strong = dyed(picture, 1.0, 2.0)
    np.testing.assert_allclose(strong.mean(-1), picture.mean(-1))
    np.testing.assert_allclose(strong.std(-1), 2 * picture.std(-1))


def test_a_new_vae_gives_back_a_blurred_picture(people: list[PersonCrops]) -> None:
    crops = people[0].pictures[:4]
    decoded = round_trip(tiny_vae(), crops)
    inside = np.s_[:, 12:-12, 12:-12]
    means = [pictures[inside].reshape(4, -1, 3).mean(1) for pictures in (crops.astype(np.float64), decoded)]
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.9, "colours come back, paler"
    grey = [pictures[inside].mean(-1).ravel() for pictures in (crops.astype(np.float64), decoded)]
    assert np.corrcoef(*grey)[0, 1] > 0.6


def test_a_centred_vae_is_the_plain_one() -> None:
    plain = new_vae(1, WIDTHS, 1)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    pictures = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        usual = plain.encoder(pictures)
        centre(plain)
        torch.testing.assert_close(plain.encoder(pictures), usual, rtol=1e-4, atol=1e-4)
    after = plain_weights(plain)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-4, atol=1e-4)


def test_without_time_decodes_as_before() -> None:
    vae, z = new_vae(0, WIDTHS, 1), torch.randn(2, 4, 4, 4)
    indicator = torch.zeros(2, 1)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if "temporal_res_block.conv2" not in name:
                parameter.add_(0.01 * torch.randn_like(parameter))
        usual = vae.decoder(z, image_only_indicator=indicator, num_frames=1)
        without_time(vae)
        decoded = vae.decoder(z, image_only_indicator=indicator, num_frames=1)
        torch.testing.assert_close(decoded, usual, rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for name, parameter in vae.named_parameters() if "temporal_" in name)


def test_loss_falls(people: list[PersonCrops]) -> None:
    vae = tiny_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-4)
    losses = []
    for _ in range(12):
        loss = loss_of(vae, draw_batch(people, 0, 0), torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_written_vae_has_latents_of_one(tmp_path: Path, people: list[PersonCrops]) -> None:
    vae = tiny_vae()
    pictures = people[0].pictures
    write_vae(tmp_path, vae, pictures)
    loaded = load_vae(tmp_path)
    images = torch.from_numpy(pictures).float() / 255
    latents = loaded.encode(images)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)
    # What is decoded is what the VAE that was written decodes.
    difference = loaded.decode(latents) - torch.from_numpy(round_trip(vae, pictures)) / 255
    assert difference.abs().max() < 0.02
    planes = images.movedim(-1, 1) * 2 - 1
    with torch.no_grad():
        logvar = vae.get_submodule("quant_conv")(vae.get_submodule("encoder")(planes)).chunk(2, 1)[1]
        wanted = torch.exp(0.5 * logvar) / (SCALE_FACTOR * posterior_mean(vae, planes).std((0, 2, 3)))[:, None, None]
    torch.testing.assert_close(loaded.posterior(images)[1], wanted, rtol=0.02, atol=1e-3)


def test_scaling_leaves_the_rest_alone() -> None:
    before = tiny_vae().state_dict()
    after = scaled(before, torch.full((4,), 2.0))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"quant_conv.weight", "quant_conv.bias", "decoder.conv_in.weight"}


def test_figures_tell_good_from_bad(people: list[PersonCrops]) -> None:
    person = people[0]
    good = measure(person.pictures, person)
    assert good.opening == good.best > 0.9
    assert good.psnr > 80
    # Every frame with the mouth of the first.
    bad = measure(np.repeat(person.pictures[:1], 8, axis=0), person)
    assert bad.psnr < 40
    assert bad.opening < good.opening - 0.2


def test_dark_opening_follows_the_mouth(people: list[PersonCrops]) -> None:
    person = people[0]
    told = np.linalg.norm(person.landmarks[:, 62] - person.landmarks[:, 66], axis=1)
    assert np.corrcoef(dark_opening(person.pictures, person.landmarks), told)[0, 1] > 0.6


def test_learning_rate_falls_to_its_end() -> None:
    settings = Settings(steps=2000)
    assert settings.rate_at(0) < settings.rate_at(40) < settings.rate
    assert settings.rate_at(1000) == pytest.approx((settings.rate + settings.final_rate) / 2)
    assert settings.rate_at(3000) == pytest.approx(settings.final_rate)


def test_a_stopped_run_goes_on(tmp_path: Path, store: CropStore) -> None:
    short = Settings(steps=1, every=1, size=SIZE, people=2, unseen=1)
    folder = tmp_path / "vae"
    folder.mkdir()
    Trainer(folder, short, store).run()
    longer = Settings(steps=2, every=5, size=SIZE, people=2, unseen=1)
    trainer = Trainer(folder, longer, store)
    assert trainer.step == 1
    trainer.run()
    rows = list(csv.DictReader((folder / "curve.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["1.0", "2.0"]
    assert (folder / "unseen.png").is_file()
    assert load_vae(folder).downscale == 8
    (folder / "training.pt").write_bytes(b"nothing")
    with pytest.raises(KeySyncError, match=r"training.pt is not a checkpoint.*delete it to start over"):
        Trainer(folder, longer, store)


def test_a_run_begins_with_a_vae(tmp_path: Path, store: CropStore, people: list[PersonCrops]) -> None:
    start = tmp_path / "start"
    start.mkdir()
    write_vae(start, tiny_vae(3), people[0].pictures)
    settings = Settings(steps=1, every=1, size=SIZE, people=2, unseen=1, rate=1e-9, start=start, heads=True, bf16=True)
    out = tmp_path / "out"
    out.mkdir()
    Trainer(out, settings, store).run()
    images = torch.from_numpy(people[0].pictures[:2]).float() / 255
    begun, gone = (vae.decode(vae.encode(images)) for vae in (load_vae(start), load_vae(out)))
    assert (begun - gone).abs().max() < 0.05, "one tiny step changes little"


def test_a_start_that_is_no_vae(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="holds no VAE"):
        first_vae(Settings(start=tmp_path))


def test_command_line(tmp_path: Path, store: CropStore, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    words = f"x -o {out} --work {store.folder} --steps 1 --size {SIZE} --people 2 --unseen 1"
    monkeypatch.setattr(sys, "argv", words.split())
    assert training.main() == 0
    assert load_vae(out).downscale == 8
