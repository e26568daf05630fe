"""Trains a small VAE on rendered faces: python -m training.small.vae.training -o FOLDER.

Each checkpoint writes the averaged weights as a float16 VAE in diffusers' layout to FOLDER, with curve.csv, a sheet of
held-out faces and their reconstructions (unseen.png), and the state from which a stopped run resumes. Latents times
0.18215 have a standard deviation of 1 over the training crops.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.stage import SCALE_FACTOR

from ...data.disk import written
from ...run.precision import precision_on_cpu
from ..learning import average, learning_rate, take_step
from .crops import UNSEEN, CropStore, PersonCrops, render_person
from .figures import measure, posterior_mean, round_trip, write_sheet
from .heads import head_weights, render_head
from .initial_weights import centre, new_vae, plain_weights
from .loss import draw_batch, loss_of, pixel_weights, without_time

logger = logging.getLogger(__name__)

WIDTHS, BLOCKS = (64, 64, 96, 160), 1
PEOPLE_AT_FIRST, STEPS_A_PERSON = 24, 5  # the number of training people grows with the steps
WARM_UP = 50  # steps
AVERAGING = 0.995
STATE, CURVE, SHEET = "training.pt", "curve.csv", "unseen.png"
COLUMNS = ("step", "minutes", "loss", "colour", "psnr", "mouth_psnr", "opening", "slope", "best")


@dataclass(frozen=True)
class Settings:
    """`steps` of training, a checkpoint every `every` steps; crops of `size` pixels of `people` people.

    Figures are measured on `unseen` held-out people; the learning rate is a cosine from `rate` to `final_rate`.
    `start`: the VAE to begin with, a folder, instead of new weights. `heads`: on talking heads for KeyFace, of which
    eyes and brows count too, instead of faces to dub. `bf16`: computed in bfloat16, which some processors do faster.
    """

    steps: int = 6000
    every: int = 250
    seed: int = 0
    size: int = 128
    people: int = 240
    unseen: int = 6
    rate: float = 2e-4
    final_rate: float = 1e-5
    start: Path | None = None
    heads: bool = False
    bf16: bool = False

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(self.rate, self.final_rate, min(step / self.steps, 1.0), step, WARM_UP)


class Trainer:
    """A new or resumed run in a folder. Raises `KeySyncError` for a checkpoint that cannot be read."""

    def __init__(self, folder: Path, settings: Settings, store: CropStore) -> None:
        self.folder, self.settings, self.store = folder, settings, store
        self._bf16 = precision_on_cpu("bf16" if settings.bf16 else "fp32") == "bf16"
        self.vae, self.average = (first_vae(settings) for _ in range(2))
        self.average.requires_grad_(False)
        for network in (self.vae, self.average):
            without_time(network)
            centre(network)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.vae.parameters() if p.requires_grad],
            lr=settings.rate,
            betas=(0.9, 0.99),
            weight_decay=0,
            fused=True,
        )
        self.step, self.minutes = 0, 0.0
        self.rows: list[dict[str, float]] = []
        render = render_head if settings.heads else partial(render_person, scenes=1, occluded=0.0)
        people = [render(UNSEEN + number, settings.size) for number in range(settings.unseen)]
        self.unseen = PersonCrops(*(np.concatenate(part) for part in zip(*map(_fields, people), strict=True)))
        if (folder / STATE).is_file():
            self._load()

    def run(self) -> None:
        """Trains until the last step, with a checkpoint every `every` steps and at the end."""
        losses: list[tuple[float, float]] = []
        begun = time.monotonic()
        while self.step < self.settings.steps:
            losses.append(self._step())
            if self.step % self.settings.every == 0 or self.step == self.settings.steps:
                self.minutes += (time.monotonic() - begun) / 60
                self._checkpoint(np.mean(losses, axis=0))
                losses, begun = [], time.monotonic()

    def _step(self) -> tuple[float, float]:
        people = self.store.first(PEOPLE_AT_FIRST + self.step // STEPS_A_PERSON)
        weigh = head_weights if self.settings.heads else pixel_weights
        batch = draw_batch(people, self.settings.seed, self.step, weigh)
        generator = torch.Generator().manual_seed(self.settings.seed * 10**9 + self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            loss = loss_of(self.vae, batch, generator)
        take_step(self.vae, self.optimizer, loss.total, self.settings.rate_at(self.step))
        self.step += 1
        average(self.average, self.vae, AVERAGING, self.step)
        return float(loss.total.detach()), float(loss.colour)

    def _checkpoint(self, losses: Any) -> None:
        decoded = round_trip(self.average, self.unseen.pictures)
        figures = measure(decoded, self.unseen)
        loss, colour = (float(value) for value in losses)
        row = {"step": self.step, "minutes": round(self.minutes, 2), "loss": loss, "colour": colour} | asdict(figures)
        self.rows.append({name: round(float(value), 5) for name, value in row.items()})
        logger.info("%s", "  ".join(f"{name} {value:g}" for name, value in self.rows[-1].items()))
        write_sheet(self.folder / SHEET, self.unseen.pictures, decoded)
        with (self.folder / CURVE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        with written(self.folder / STATE) as path, path.open("wb") as state:
            torch.save(self._state(), state)
        known = [person.pictures[::4] for person in self.store.first(PEOPLE_AT_FIRST)]
        write_vae(self.folder, self.average, np.concatenate(known))

    def _state(self) -> dict[str, Any]:
        return {
            "vae": self.vae.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "minutes": self.minutes,
            "rows": self.rows,
        }

    def _load(self) -> None:
        path = self.folder / STATE
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.vae.load_state_dict(state["vae"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.minutes, self.rows = state["step"], state["minutes"], state["rows"]
        except Exception as error:  # torch raises many types for files that are not checkpoints
            why = str(error).splitlines()[0]
            raise KeySyncError(
                f"{path} is not a checkpoint of this training ({why}): delete it to start over"
            ) from error
        logger.info("resuming after %d of %d steps", self.step, self.settings.steps)


def first_vae(settings: Settings) -> Any:
    """The VAE that a run begins with. Raises `KeySyncError` for a folder that holds none."""
    if settings.start is None:
        return new_vae(settings.seed, WIDTHS, BLOCKS)
    from diffusers import AutoencoderKLTemporalDecoder

    try:
        return AutoencoderKLTemporalDecoder.from_pretrained(settings.start, torch_dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise KeySyncError(f"{settings.start} holds no VAE in diffusers' layout ({error}): name its folder") from error


@torch.no_grad()
def write_vae(folder: Path, vae: Any, pictures: np.ndarray[Any, Any]) -> None:
    """Writes config.json and float16 weights; scaled latents of these pictures (n, h, w, 3) have a deviation of 1."""
    planes = torch.from_numpy(pictures).movedim(-1, 1).float() / 127.5 - 1  # n h w c -> n c h w
    means = torch.cat([posterior_mean(vae, part) for part in planes.split(8)])
    tensors = scaled(plain_weights(vae), 1 / (SCALE_FACTOR * means.std(dim=(0, 2, 3))))
    vae.save_config(folder)
    config = folder / "config.json"
    fields = json.loads(config.read_text(encoding="utf-8")) | {"sample_size": pictures.shape[1]}
    config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    held = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    with written(folder / "diffusion_pytorch_model.safetensors") as file:
        file.write_bytes(save(held, metadata={"format": "pt"}))


def scaled(tensors: dict[str, Tensor], factor: Tensor) -> dict[str, Tensor]:
    """An equivalent VAE with each latent channel multiplied by a factor (4,), in quant_conv and the decoder's first
    layer."""
    weight, bias = tensors["quant_conv.weight"], tensors["quant_conv.bias"]
    both = torch.cat([factor, torch.ones_like(factor)])
    wider = torch.cat([torch.zeros_like(factor), 2 * factor.log()])  # added to the logarithm of the variance
    return tensors | {
        "quant_conv.weight": weight * both[:, None, None, None],
        "quant_conv.bias": bias * both + wider,
        "decoder.conv_in.weight": tensors["decoder.conv_in.weight"] / factor[None, :, None, None],
    }


def _fields(person: PersonCrops) -> tuple[Any, Any]:
    return person.pictures, person.landmarks


def main() -> int:
    standard = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m training.small.vae.training", description="Trains a small VAE on rendered faces."
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the VAE; a stopped run resumes there"
    )
    parser.add_argument("--work", type=Path, help="folder of the rendered crops (default: OUTPUT/crops)")
    for name, text in {
        "steps": "steps of training",
        "every": "steps between checkpoints",
        "seed": "seed of weights and batches",
        "size": "size of the crops in pixels",
        "people": "people to train on",
        "unseen": "held-out people to measure on",
        "rate": "initial learning rate",
    }.items():
        value = getattr(standard, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"{text} (default: {value:g})"
        )
    parser.add_argument("--start", type=Path, metavar="VAE", help="folder of a VAE to begin with (default: a new one)")
    parser.add_argument("--heads", action="store_true", help="on talking heads for KeyFace")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    arguments = vars(parser.parse_args())
    folder, work = arguments.pop("output"), arguments.pop("work")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(**arguments)
        render = render_head if settings.heads else render_person
        with CropStore(work or folder / "crops", settings.size, settings.people, render) as store:
            Trainer(folder, settings, store).run()
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
