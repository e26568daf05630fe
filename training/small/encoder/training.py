"""Trains a small HuBERT to predict the mouth: python -m training.small.encoder.training -o FOLDER.

A linear layer, discarded afterwards, predicts mouth and phoneme of synthetic speech from the features. FOLDER becomes a
HuBERT in transformers' layout, as `load_encoder` reads it, with curve.csv, the corpus, and state.pt, from which the
same command resumes.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from keysync.errors import KeySyncError
from keysync.weights.files import write_tensors
from keysync.whole import whole_file

from ...synthetic.voice.corpus import Corpus, load_corpus
from ...synthetic.voice.sentences import TRAIN, VALIDATION
from ..learning import average, learning_rate, take_step
from .lesson import MOUTH, SECONDS, SOUNDS, Lesson, lesson

log = logging.getLogger(__name__)

ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "conv_dim": (32, 48, 64, 64, 64, 96, 128),
    "num_conv_pos_embeddings": 64,
    "num_conv_pos_embedding_groups": 8,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    **dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0),
    **dict.fromkeys(("layerdrop", "mask_time_prob"), 0.0),
}
# Weights of the squared errors of open, wide, round, teeth and tongue; of their mean; of the sounds' cross entropy.
WEIGHTS = (2.0, 1.0, 1.0, 0.5, 0.5)
MOUTH_WEIGHT, SOUND_WEIGHT = 20.0, 0.3
FIRST_RATE, LAST_RATE, WARM_UP = 1e-3, 1e-5, 200
EMA = 0.999
VALIDATION_HOURS, VALIDATION_LESSONS = 0.25, 4
CURVE = ("step", "minutes", "learning_rate", "loss", "mouth", "sound", "validation_mouth", "validation_sound", "open")


@dataclass(frozen=True)
class Settings:
    """Training ends after `steps` steps or `minutes` minutes. `hours`: of speech; `every`: steps between checkpoints.

    `start`: the folder of an encoder to continue from, of the same architecture or with fewer layers; added layers are
    initially the identity. None for new weights.
    """

    steps: int = 20_000
    minutes: float = math.inf
    seed: int = 0
    hours: float = 3.0
    seconds: int = SECONDS
    every: int = 200
    workers: int = 2
    start: Path | None = None


class Pupil(nn.Module):
    """The encoder, and the linear layer that predicts mouth and sound from its rows."""

    def __init__(self, architecture: Mapping[str, Any] = ARCHITECTURE) -> None:
        super().__init__()
        import transformers

        self.encoder = transformers.HubertModel(transformers.HubertConfig(**architecture))
        self.head = nn.Linear(self.encoder.config.hidden_size, len(MOUTH) + len(SOUNDS))

    def forward(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Mouths (b, r, 5) and the sounds' logits (b, r, s) of normalised waveforms (b, n)."""
        rows = self.encoder(waveforms).last_hidden_state
        mouths, sounds = self.head(rows).split((len(MOUTH), len(SOUNDS)), dim=-1)
        return mouths, sounds


def losses(pupil: Pupil, taught: Lesson) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted squared error of the mouths, the cross entropy of the sounds, and the mouths read (b, r, 5)."""
    mouths, sounds = pupil(taught.waveforms)
    mouth = ((mouths - taught.mouths).square() * mouths.new_tensor(WEIGHTS)).mean()
    return mouth, F.cross_entropy(sounds.flatten(0, 1), taught.sounds.flatten()), mouths


class Trainer:
    """A run: the network, its moving average, and the progress."""

    def __init__(self, settings: Settings, architecture: Mapping[str, Any] = ARCHITECTURE) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.pupil = Pupil(architecture)
        if settings.start is not None:
            _start_from(settings.start, self.pupil.encoder)
        self.average = copy.deepcopy(self.pupil).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.pupil.parameters(), FIRST_RATE, betas=(0.9, 0.98), weight_decay=0.01)
        self.number, self.minutes = 0, 0.0

    @property
    def progress(self) -> float:
        """0..1, of the steps or of the minutes, whichever is further."""
        return min(max(self.number / self.settings.steps, self.minutes / self.settings.minutes), 1.0)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(FIRST_RATE, LAST_RATE, self.progress, self.number, WARM_UP)

    def step(self, corpus: Corpus) -> tuple[float, float]:
        """One step; returns its two losses."""
        begun = time.monotonic()
        taught = lesson(corpus, self.settings.seed, self.number, self.settings.seconds)
        self.pupil.train()
        mouth, sound, _ = losses(self.pupil, taught)
        take_step(self.pupil, self.optimizer, MOUTH_WEIGHT * mouth + SOUND_WEIGHT * sound, self.rate)
        self.number += 1
        average(self.average, self.pupil, EMA, self.number)
        self.minutes += (time.monotonic() - begun) / 60
        return mouth.item(), sound.item()

    def state(self) -> dict[str, Any]:
        """The state needed to resume."""
        return {
            "pupil": self.pupil.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (self.number, self.minutes),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Resumes from a result of `state`."""
        self.pupil.load_state_dict(state["pupil"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.number, self.minutes = state["progress"]


@torch.no_grad()
def _start_from(folder: Path, encoder: Any) -> None:
    try:
        known = load_file(folder / "model.safetensors")
        for number, layer in enumerate(encoder.encoder.layers):
            if not any(name.startswith(f"encoder.layers.{number}.") for name in known):
                for last in (layer.attention.out_proj, layer.feed_forward.output_dense):
                    last.weight.zero_()
                    last.bias.zero_()
                known |= {f"encoder.layers.{number}.{name}": part for name, part in layer.state_dict().items()}
        encoder.load_state_dict(known)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise KeySyncError(
            f"{folder} has no encoder to continue from ({error}): name a folder written by this command"
        ) from error


@torch.no_grad()
def validate(pupil: Pupil, lessons: list[Lesson]) -> tuple[float, float, float]:
    """The two losses on these lessons, and the correlation of the predicted opening with the true one."""
    pupil.eval()
    read = [losses(pupil, taught) for taught in lessons]
    opened = [torch.stack((r[2][..., 0], t.mouths[..., 0])).flatten(1) for r, t in zip(read, lessons, strict=True)]
    correlation = torch.corrcoef(torch.cat(opened, 1))[0, 1]
    count = len(read)
    return sum(r[0].item() for r in read) / count, sum(r[1].item() for r in read) / count, correlation.item()


@torch.no_grad()
def save_encoder(pupil: Pupil, lessons: list[Lesson], folder: Path) -> None:
    """Writes the encoder as a transformers folder in half precision.

    Its last layer norm is rescaled so that the features of these lessons have mean 0 and root mean square 1.
    """
    encoder = copy.deepcopy(pupil.encoder).eval()
    rows = torch.cat([encoder(taught.waveforms).last_hidden_state.flatten(0, 1) for taught in lessons])
    norm = encoder.encoder.layers[-1].final_layer_norm
    mean = rows.mean(0)
    scale = (rows - mean).square().mean().rsqrt()
    norm.weight.mul_(scale)
    norm.bias.sub_(mean).mul_(scale)
    encoder.config.save_pretrained(folder)
    tensors = {name: value.half() for name, value in encoder.state_dict().items()}
    write_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


def train(settings: Settings, folder: Path, architecture: Mapping[str, Any] = ARCHITECTURE) -> None:
    """Trains into a folder, resuming from its state if there is one."""
    trainer = Trainer(settings, architecture)  # first, so that a wrong start fails before any work
    hours = min(VALIDATION_HOURS, settings.hours)
    known = load_corpus(folder / "corpus" / VALIDATION, hours, VALIDATION, settings.seed, settings.workers)
    corpus = load_corpus(folder / "corpus" / TRAIN, settings.hours, TRAIN, settings.seed, settings.workers)
    lessons = [lesson(known, settings.seed, number, settings.seconds) for number in range(VALIDATION_LESSONS)]
    kept, curve = folder / "state.pt", folder / "curve.csv"
    if kept.is_file():
        trainer.resume(torch.load(kept, weights_only=True))
        log.info("resuming from step %d", trainer.number)
    else:
        curve.write_text(",".join(CURVE) + "\n")
    sums, since = [0.0, 0.0], trainer.number
    while trainer.progress < 1:
        sums = [total + loss for total, loss in zip(sums, trainer.step(corpus), strict=True)]
        if trainer.number % settings.every and trainer.progress < 1:
            continue
        mouth, sound = (total / (trainer.number - since) for total in sums)
        sums, since = [0.0, 0.0], trainer.number
        judged = validate(trainer.average, lessons)
        row = (trainer.rate, MOUTH_WEIGHT * mouth + SOUND_WEIGHT * sound, mouth, sound, *judged)
        with curve.open("a") as file:
            file.write(f"{trainer.number},{trainer.minutes:.2f}," + ",".join(f"{value:.5g}" for value in row) + "\n")
        log.info("step %d, %.1f min: mouth %.4f, sound %.3f; validation %.4f, %.3f, opening %.4f",
                 trainer.number, trainer.minutes, mouth, sound, *judged)  # fmt: skip
        save_encoder(trainer.average, lessons, folder)
        with whole_file(kept) as temporary:
            torch.save(trainer.state(), temporary)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.encoder.training", description="Trains a small HuBERT to predict the mouth."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the encoder and its training")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="steps of training (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=Settings.minutes, help="minutes of training, if they end first"
    )
    parser.add_argument("--hours", type=float, default=Settings.hours, help="hours of speech to synthesise")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of weights and speech")
    parser.add_argument("--start", type=Path, help="folder of an encoder to continue from")
    parser.add_argument("--workers", type=int, default=Settings.workers, help="processes that synthesise speech")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(folder=arguments.pop("output"), settings=Settings(**arguments))
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
