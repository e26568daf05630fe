"""Trains a small KeyFace as `recipe.toml` says, from KeySync small: VAE, data, both stages, and their files."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from keysync.network.stage import KEYFACE
from keysync.speech.hubert import Hubert
from keysync.systems.keysync.small import SMALL

from ...config.config import TrainConfig, config_of, read_toml
from ...export import export
from ...run.run import Run
from ...train import train
from ..steps import Step, Tables, run_steps

logger = logging.getLogger(__name__)

RECIPE = Path(__file__).with_name("recipe.toml")
WEAK, VAE = "weak", "vae"
VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def role_of(stage: str) -> str:
    """The stage's place in its system, such as keyframe."""
    return stage.rpartition("_")[2]


def stage_config(tables: Tables, stage: str) -> TrainConfig:
    """The settings of a stage: the common ones, overridden by its own; it starts from KeySync small's."""
    start = {"start": str(SMALL[role_of(stage)])}
    return config_of({**start, **tables["stage"], **tables[stage]}, str(RECIPE))


def train_vae(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/vae: KeySync small's VAE, taught eyes and brows: a dub keeps those, so that it never learned them."""
    from ..vae.crops import CropStore
    from ..vae.heads import render_head
    from ..vae.training import Settings, Trainer

    out = folder / VAE
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(start=SMALL["vae"], heads=True, **tables["vae"])
    with CropStore(out / "crops", settings.size, settings.people, render_head) as store:
        Trainer(out, settings, store).run()


def write_data(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/data/STAGE: the training data of each stage."""
    from ...synthetic.data import Settings
    from ...synthetic.data import write_data as write

    for stage in KEYFACE:
        table = {**tables["data"], **tables[f"{stage}_data"]}
        clips, validation = table.pop("clips"), table.pop("validation")
        settings = Settings(vae=folder / VAE, encoders={Hubert.name: SMALL[Hubert.name]}, **table)
        target = folder / "data" / stage
        target.mkdir(parents=True, exist_ok=True)
        write(target, clips, settings, workers=workers, validation=validation)


def train_stage(stage: str) -> Step:
    """A function that trains a stage into FOLDER/STAGE."""

    def work(folder: Path, tables: Tables, workers: int) -> None:
        config = stage_config(tables, stage)
        out = folder / stage
        if max(Run(out).steps(), default=0) < config.steps:
            train(config, folder / "data" / stage, out)

    return work


def write_bundle(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/bundle: keyframe, interpolation and its weaker copy, averaged weights in 8 bits, and the VAE's folder."""
    bundle = folder / "bundle"
    (bundle / VAE).mkdir(parents=True, exist_ok=True)
    for name in VAE_FILES:
        shutil.copyfile(folder / VAE / name, bundle / VAE / name)
    for stage in KEYFACE:
        logger.info("%s", export(folder / stage, bundle / f"{role_of(stage)}.safetensors", eight_bits=True))
    step = tables[WEAK]["step"]
    weak = bundle / f"{WEAK}.safetensors"
    logger.info("%s", export(folder / KEYFACE[1], weak, step=step, weak=True, eight_bits=True))


STEPS: dict[str, Step] = {
    VAE: train_vae,
    "data": write_data,
    **{role_of(stage): train_stage(stage) for stage in KEYFACE},
    "bundle": write_bundle,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.small.keyface", description="Trains a small KeyFace.")
    return run_steps(parser, arguments, lambda: read_toml(RECIPE), STEPS, workers=1)


if __name__ == "__main__":
    sys.exit(main())
