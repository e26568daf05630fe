import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from keysync.errors import KeySyncError
from keysync.speech.encoders import load_encoder
from training.small.encoder.lesson import Lesson, normalised
from training.small.encoder.training import (
    ARCHITECTURE,
    CURVE,
    EMA,
    FIRST_RATE,
    LAST_RATE,
    WARM_UP,
    Pupil,
    Settings,
    Trainer,
    save_encoder,
    train,
    validate,
)
from training.synthetic.voice.corpus import load_corpus

SMALL = {**ARCHITECTURE, "conv_dim": (8,) * 7, "hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1}
SETTINGS = Settings(steps=4, hours=0.001, seconds=4, every=2, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.set_num_threads(1)
    train(SETTINGS, folder, SMALL)
    return folder


def random_lesson(seed: int) -> Lesson:
    generator = torch.Generator().manual_seed(seed)
    waveforms = torch.randn(2, 6400, generator=generator)
    return Lesson(waveforms, torch.rand(2, 19, 5, generator=generator), torch.zeros(2, 19, dtype=torch.long))


def test_keysync_reads_what_is_written(folder: Path) -> None:
    encoder = load_encoder("hubert", folder)
    assert encoder.channels == 64
    assert encoder.encode(torch.randn(16_000)).rows.shape == (50, 64)


def test_a_run_starts_from_an_encoder(folder: Path, tmp_path: Path) -> None:
    started = Trainer(replace(SETTINGS, start=folder), SMALL)
    fresh = Trainer(SETTINGS, SMALL)
    known = load_file(folder / "model.safetensors")
    for name, weight in started.pupil.encoder.state_dict().items():
        assert torch.equal(weight, known[name].float())
    assert not torch.equal(next(fresh.pupil.encoder.parameters()), next(started.pupil.encoder.parameters()))
    deeper = Trainer(replace(SETTINGS, start=folder), {**SMALL, "num_hidden_layers": 3})
    heard = torch.randn(2, 6400)
    with torch.no_grad():
        before, after = (run.pupil.eval().encoder(heard).last_hidden_state for run in (started, deeper))
    # Of what lies below, a new layer takes the norm alone.
    assert torch.allclose(after, F.layer_norm(before, (64,)), atol=1e-4)
    with pytest.raises(KeySyncError, match="has no encoder to continue from"):
        Trainer(replace(SETTINGS, start=tmp_path), SMALL)
    with pytest.raises(KeySyncError, match="has no encoder to continue from"):
        Trainer(replace(SETTINGS, start=folder))


def test_the_shipped_size_is_small() -> None:
    assert sum(parameter.numel() for parameter in Pupil().encoder.parameters()) < 1_500_000


def test_saved_features_are_the_same_but_for_scale_and_offset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pupil = Pupil(SMALL).eval()
    norm = pupil.encoder.encoder.layers[-1].final_layer_norm
    torch.nn.init.uniform_(norm.weight, 1, 5)
    torch.nn.init.uniform_(norm.bias, -3, 9)
    taught = random_lesson(0)
    save_encoder(pupil, [taught], tmp_path)
    encoder = load_encoder("hubert", tmp_path)
    waveform = torch.randn(6400)
    saved = encoder.model(taught.waveforms).last_hidden_state.detach().flatten(0, 1)
    assert saved.mean(0).abs().max() < 0.02
    assert saved.square().mean().sqrt() == pytest.approx(1, abs=0.01)
    rows = encoder.encode(waveform).rows
    own = pupil.encoder(normalised(waveform)[None]).last_hidden_state[0].detach()
    assert rows[-1].abs().max() == 0
    both = torch.stack((rows[:-1] - rows[:-1].mean(0), own - own.mean(0))).flatten(1)
    assert torch.corrcoef(both)[0, 1] > 0.9999


def test_a_run_cut_in_two_is_the_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").symlink_to(folder / "corpus")
    train(SETTINGS, tmp_path, SMALL)
    whole = torch.load(tmp_path / "state.pt")
    corpus = load_corpus(folder / "corpus" / "train", SETTINGS.hours)
    trainer = Trainer(SETTINGS, SMALL)
    for _ in range(2):
        again = Trainer(SETTINGS, SMALL)
        again.resume(trainer.state())
        again.step(corpus)
        again.step(corpus)
        trainer = again
    for part in ("pupil", "average"):
        for name, tensor in trainer.state()[part].items():
            assert torch.equal(tensor, whole[part][name]), name


def test_a_finished_run_is_left_alone_and_a_longer_one_goes_on(folder: Path) -> None:
    def steps() -> list[int]:
        with (folder / "curve.csv").open() as file:
            return [int(row[CURVE[0]]) for row in csv.DictReader(file)]

    assert steps() == [2, 4]
    train(SETTINGS, folder, SMALL)
    assert steps() == [2, 4]
    train(replace(SETTINGS, steps=6), folder, SMALL)
    assert steps() == [2, 4, 6]


def test_the_rate_falls_by_steps_or_minutes() -> None:
    trainer = Trainer(Settings(steps=10_000, minutes=10), SMALL)
    assert trainer.rate == pytest.approx(FIRST_RATE / WARM_UP)
    trainer.number = 5000
    assert trainer.rate == pytest.approx((FIRST_RATE + LAST_RATE) / 2)
    trainer.minutes = 10
    assert trainer.progress == 1
    assert trainer.rate == pytest.approx(LAST_RATE)


def test_it_learns_and_the_average_follows_slowly(folder: Path) -> None:
    corpus = load_corpus(folder / "corpus" / "train", SETTINGS.hours)
    trainer = Trainer(Settings(steps=100_000, seconds=4), SMALL)
    learned = []
    for _ in range(12):
        trainer.number = 20_000  # the same lesson again and again
        before = trainer.average.head.bias.clone()
        learned.append(trainer.step(corpus))
        moved = torch.lerp(before, trainer.pupil.head.bias.detach(), 1 - EMA)
        assert torch.allclose(trainer.average.head.bias, moved, atol=1e-7)
    assert learned[-1][0] < 0.7 * learned[0][0]
    assert learned[-1][1] < 0.97 * learned[0][1]


def test_validation_reads_the_opening() -> None:
    class Knowing(Pupil):
        def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mouths = torch.cat([taught.mouths for taught in lessons if taught.waveforms is waveforms])
            return 2 * mouths + 1, torch.zeros(*mouths.shape[:2], 3)

    lessons = [random_lesson(2), random_lesson(3)]
    mouth, sound, correlation = validate(Knowing(SMALL), lessons)
    assert correlation == pytest.approx(1)
    assert sound == pytest.approx(1.0986, abs=1e-3)
    assert mouth > 1
