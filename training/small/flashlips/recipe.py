"""Trains a small FlashLips as `recipe.toml` says: data, its four parts one after the other, and its file."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from keysync.speech.hubert import Hubert
from keysync.systems.keysync.small import SMALL

from ...config.config import config_as, read_toml
from ...export import export
from ...flashlips.config import AUDIO, LIPS_STAGES, FlashLipsConfig
from ...run.run import Run
from ...train import train
from ..steps import Step, Tables, run_steps

logger = logging.getLogger(__name__)

RECIPE = Path(__file__).with_name("recipe.toml")
# Data of many people in few frames, and of whole sentences.
FACES, TALKS = "faces", "talks"


def stage_config(tables: Tables, stage: str, folder: Path) -> FlashLipsConfig:
    """The settings of a part: the common ones, overridden by its own; it starts from the file of the part before."""
    before = LIPS_STAGES.index(stage) - 1
    start = {} if before < 0 else {"start": str(file_of(folder, LIPS_STAGES[before]))}
    return config_as(FlashLipsConfig, {"stage": stage, **start, **tables["stage"], **tables[stage]}, str(RECIPE))


def file_of(folder: Path, stage: str) -> Path:
    """The file with all parts up to this one."""
    return folder / f"{stage}.safetensors"


def write_data(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/data/faces and FOLDER/data/talks: the training data."""
    from ...synthetic.data import Settings
    from ...synthetic.data import write_data as write

    for kind in (FACES, TALKS):
        table = {**tables["data"], **tables[kind]}
        clips, validation = table.pop("clips"), table.pop("validation")
        settings = Settings(vae=SMALL["vae"], encoders={Hubert.name: SMALL[Hubert.name]}, **table)
        target = folder / "data" / kind
        target.mkdir(parents=True, exist_ok=True)
        write(target, clips, settings, workers=workers, validation=validation)


def train_stage(stage: str) -> Step:
    """A function that trains a part into FOLDER/STAGE and writes its file beside it."""

    def work(folder: Path, tables: Tables, workers: int) -> None:
        config = stage_config(tables, stage, folder)
        out = folder / stage
        if max(Run(out).steps(), default=0) < config.steps:
            train(config, folder / "data" / (TALKS if stage == AUDIO else FACES), out)
        logger.info("%s", export(out, file_of(folder, stage)))

    return work


def write_bundle(folder: Path, tables: Tables, workers: int) -> None:
    """FOLDER/flashlips.safetensors: all parts, in 8 bits."""
    logger.info("%s", export(folder / AUDIO, folder / "flashlips.safetensors", eight_bits=True))


STEPS: dict[str, Step] = {
    "data": write_data,
    **{stage.partition("_")[2]: train_stage(stage) for stage in LIPS_STAGES},
    "bundle": write_bundle,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.small.flashlips", description="Trains a small FlashLips.")
    return run_steps(parser, arguments, lambda: read_toml(RECIPE), STEPS, workers=1)


if __name__ == "__main__":
    sys.exit(main())
