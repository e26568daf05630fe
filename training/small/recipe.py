"""Trains the built-in model, KeySync small: python -m training.small -o FOLDER.

Six steps, each in its own folder: vae, encoder, data, keyframe, interpolation, ears; then FOLDER/bundle holds the model
as shipped. Finished steps are skipped and interrupted ones resume. `--only STEP` runs a single step, so that both
stages can train at the same time: one process per core is faster than one process on two. The settings are in
training/small/recipe.toml.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from keysync.network.stage import KEYSYNC
from keysync.speech.hubert import Hubert
from keysync.systems.keysync.small import SMALL

from ..config.config import TrainConfig, config_of, read_toml
from ..export import export
from ..run.run import Run
from ..train import train
from .steps import Step, Tables, run_steps

logger = logging.getLogger(__name__)

RECIPE = Path(__file__).with_name("recipe.toml")
ENCODER = Hubert.name  # the kind of encoder that the recipe trains
WEIGHTS = "model.safetensors"  # of an encoder, in its folder
STAGES = KEYSYNC


def stage_config(tables: Tables, stage: str) -> TrainConfig:
    """The settings of a stage: the common ones, overridden by its own."""
    return config_of({**tables["stage"], **tables[stage]}, str(RECIPE))


def train_vae(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/vae: a VAE in diffusers' layout, and its training crops."""
    from .vae.crops import CropStore
    from .vae.training import Settings, Trainer

    settings = Settings(**tables["vae"])
    _made(folder / "vae")
    with CropStore(folder / "vae" / "crops", settings.size, settings.people) as store:
        Trainer(folder / "vae", settings, store).run()


def train_encoder(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/encoder: a HuBERT in transformers' layout."""
    from .encoder.training import Settings
    from .encoder.training import train as train_on_speech

    train_on_speech(Settings(**tables["encoder"], workers=workers), _made(folder / "encoder"))


def write_data(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/data/STAGE: the training data of each stage, made with the trained VAE and encoder."""
    from ..synthetic.data import Settings
    from ..synthetic.data import write_data as write

    for stage in STAGES:
        table = {**tables["data"], **tables[f"{stage}_data"]}
        clips, validation = table.pop("clips"), table.pop("validation")
        settings = Settings(vae=folder / "vae", encoders={ENCODER: folder / "encoder"}, **table)
        write(_made(folder / "data" / stage), clips, settings, workers=workers, validation=validation)


def train_stage(stage: str) -> Callable[[Path, Tables, int], None]:
    """A function that trains a stage into FOLDER/STAGE."""

    def work(folder: Path, tables: Tables, workers: int) -> None:
        config = stage_config(tables, stage)
        out = folder / stage
        if max(Run(out).steps(), default=0) < config.steps:
            train(config, folder / "data" / stage, out)

    return work


def train_ears(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/ears: what the encoder would hear, as far as stages take it in, from the rows of the built-in Whisper."""
    from .ears import Settings, train

    ears = _made(folder / "ears")
    if not (ears / WEIGHTS).is_file():
        stages = [ears / SMALL[stage].name for stage in STAGES]
        for stage, file in zip(STAGES, stages, strict=True):
            export(folder / stage, file, dtype=torch.float16)
        train(Settings(**tables["ears"], workers=workers), ears, folder / "encoder", stages)


def write_bundle(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/bundle: the files and folders of `keysync.systems.keysync.small`, averaged weights in float16."""
    bundle = _made(folder / "bundle")
    for stage in STAGES:
        logger.info("%s", export(folder / stage, bundle / SMALL[stage].name, dtype=torch.float16))
    for name, source, files in (
        ("vae", folder / "vae", ("config.json", "diffusion_pytorch_model.safetensors")),
        (ENCODER, folder / "ears", (WEIGHTS,)),
    ):
        target = _made(bundle / SMALL[name].name)
        for file in files:
            shutil.copy(source / file, target / file)


STEPS: dict[str, Step] = {
    "vae": train_vae,
    "encoder": train_encoder,
    "data": write_data,
    **{stage: train_stage(stage) for stage in STAGES},
    "ears": train_ears,
    "bundle": write_bundle,
}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.small", description="Trains the built-in model.")
    return run_steps(parser, arguments, lambda: read_toml(RECIPE), STEPS, workers=2)


if __name__ == "__main__":
    sys.exit(main())
