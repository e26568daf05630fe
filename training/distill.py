"""Distils a stage into one that is faster to sample: `python -m training.distill guidance FILE --data DATA --out RUN`.

"guidance" (Meng et al., 2023, "On Distillation of Guided Diffusion Models"): a copy of FILE learns to predict in one
evaluation what FILE predicts with guidance, in up to three. "steps" (Salimans & Ho, 2022, "Progressive Distillation for
Fast Sampling of Diffusion Models"): `--levels 700,3` learns to step through these noise levels, each step in one
evaluation, as FILE does in many; FILE may be distilled before. The exported file says what it is, and is sampled
without guidance at its levels.

Runs, settings and several GPUs are those of `training.train`; `--trainable lora` trains adapters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from keysync.network.stage import StageSpec
from keysync.weights.checkpoint import open_stage

from . import train
from .config.config import DISTILLED, NO, TrainConfig, load_config, overrides_of, read_toml


def settings_of(spec: StageSpec) -> dict[str, str]:
    """The settings that a teacher of this spec decides or that distillation has by default, as on a command line."""
    settings = {
        "stage": spec.name,
        "window": spec.window,
        "resolution": spec.image_size[0],
        "speech_encoder": spec.speech_encoder,
        "mask": spec.mask,
        **spec.scales,
        "trainable": "all",
        "rgb_weight": 0,
    }
    return {key: str(value) for key, value in settings.items()}


def parse(arguments: Sequence[str] | None) -> tuple[TrainConfig, argparse.Namespace]:
    """The settings in a command line, and its other options. Raises `KeySyncError` for invalid settings and files."""
    parser = argparse.ArgumentParser(prog="python -m training.distill", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=[name for name in DISTILLED if name != NO], help="what is distilled")
    parser.add_argument("teacher", type=Path, metavar="FILE", help="a KeySync checkpoint: the teacher")
    train.add_run_options(parser)
    options, rest = parser.parse_known_args(arguments)
    spec = open_stage(options.teacher).spec
    ours = read_toml(options.config) if options.config else {}
    own = {key: value for key, value in settings_of(spec).items() if key not in ours}
    chosen = {key.replace("-", "_"): value for key, value in overrides_of(rest).items()}
    asked = {"start": str(options.teacher), "distill": options.what}
    config = load_config(options.preset or spec.name, options.config, {**own, **chosen, **asked})
    return train.absolute(config), options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return train.main(arguments, parse)


if __name__ == "__main__":
    sys.exit(main())
