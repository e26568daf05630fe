"""Writes the result of a training run as one file: `python -m training.export RUN -o FILE`.

A .safetensors file with metadata is for KeySync and ComfyUI, a .pt file for the method's original code. A run that
trained adapters exports a LoRA, or with --merge the stage with the adapters merged in. A part of FlashLips comes with
the parts before it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.guidance import AUTOGUIDANCE
from keysync.network.stage import ALL_STAGES, Stage
from keysync.weights.checkpoint import DTYPES, load_stage
from keysync.weights.eight_bits import to_eight_bits
from keysync.weights.files import CONTAINERS, SAFETENSORS, WRAPPER, read_tensors, write_tensors
from keysync.weights.stage_format import EMBEDDED, embed, metadata_of, published_names

from .config.config import TrainConfig
from .data.disk import written
from .flashlips import export as flashlips
from .flashlips.config import LIPS_STAGES
from .run.card import card
from .run.course import ADAPTERS, AVERAGED, STAGE
from .run.hub import check_hub, push
from .run.run import Run, save_pickle
from .weights.embedded_vae import decoder_tensors
from .weights.initial_weights import trained_spec
from .weights.lora import adapted, load_lora, merged

PICKLE = ".pt"
INT8 = "int8"
TRAINING_KEYS = "keysync.training."


def export(
    folder: Path,
    target: Path,
    *,
    step: int | None = None,
    averaged: bool = True,
    dtype: torch.dtype | None = None,
    eight_bits: bool = False,
    merge: bool = False,
    vae: Path | None = None,
    weak: bool = False,
) -> str:
    """Writes a checkpoint of the run in `folder`, by default the newest, to `target`; returns a description of it.

    `averaged` weights take precedence over the last ones if the run keeps them. `dtype` is that of the file, by default
    as trained; `eight_bits`: its matrices as integers (`keysync.weights.eight_bits`), the rest as float16. `merge`
    merges adapters into the stage; `vae` adds the decoder of a VAE; `weak`: the file is the weaker copy that guides
    KeyFace's interpolation, an early checkpoint.
    Raises `KeySyncError` if there is no such checkpoint, or if the file cannot be written as requested.
    """
    run = Run(folder)
    if run.stage in LIPS_STAGES:
        for what, asked in (("merge", merge), ("vae", vae is not None), ("weak", weak)):
            if asked:
                raise KeySyncError(f"{what} is not for parts of FlashLips: omit it")
        return flashlips.export(folder, target, step=step, averaged=averaged, dtype=dtype, eight_bits=eight_bits)
    config = run.config()
    lora = config.trainable == "lora" and not merge
    _check(config, target, merge, vae, lora)
    if eight_bits and (lora or target.suffix.lower() == PICKLE):
        raise KeySyncError(f"8 bits are for stages in {SAFETENSORS} files: choose another precision")
    if weak and (lora or ALL_STAGES[config.stage].guidance is not AUTOGUIDANCE):
        raise KeySyncError(f"no weaker copy guides {'a LoRA' if lora else f'the {config.stage} stage'}: omit --weak")
    step, place = run.chosen(step, config.checkpoint_every)
    averaged = averaged and (place / AVERAGED).is_file()
    file = place / (AVERAGED if averaged else ADAPTERS if lora or merge else STAGE)
    kind = ", averaged weights" if averaged else ""
    if lora:
        tensors, metadata = read_tensors(file)
        write_tensors(_cast(tensors, dtype), target, metadata)
        return f"LoRA for the {config.stage} stage, step {step}{kind}"
    stage = _merged(file, config) if merge else load_stage(file, expect=config.stage)
    stage.spec = replace(stage.spec, weak=weak)
    state = stage.state_dict()
    tensors = {theirs: state[ours] for theirs, ours in published_names(stage).items()}
    if vae is not None:
        tensors |= decoder_tensors(vae)
    cast = to_eight_bits(_cast(tensors, torch.float16)) if eight_bits else _cast(tensors, dtype)
    _write(cast, target, stage, read_tensors(file)[1])
    kind += ", adapters merged in" if merge else ""
    return f"{config.stage} stage, step {step}{kind}{', the weaker copy' if weak else ''}"


def _check(config: TrainConfig, target: Path, merge: bool, vae: Path | None, lora: bool) -> None:
    """Raises `KeySyncError` before any work for a request that cannot be met."""
    suffix = target.suffix.lower()
    if suffix not in (SAFETENSORS, PICKLE):
        raise KeySyncError(
            f"{target}: cannot write weights as {suffix or 'a file without suffix'}: expected {SAFETENSORS} or {PICKLE}"
        )
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise KeySyncError(f"{target} {problem}: name a file in an existing folder")
    if merge and config.trainable != "lora":
        raise KeySyncError(f"cannot merge: the run trained no adapters (trainable {config.trainable}); omit --merge")
    if lora and (suffix == PICKLE or vae is not None):
        what = f"be a {PICKLE} file" if suffix == PICKLE else "hold a VAE's decoder"
        raise KeySyncError(f"the run trained a LoRA, which cannot {what}: add --merge")


def _merged(file: Path, config: TrainConfig) -> Stage:
    """The stage that the run started from, with the adapters of a file merged in."""
    stage = load_stage(config.start, expect=config.stage, dtype=torch.float32)
    stage.spec = trained_spec(stage.spec, config)
    adapted(stage, config)
    load_lora(stage, file)
    return merged(stage)


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Weights as `dtype`; scalars, such as a LoRA's alpha, keep their precision."""
    return {name: tensor.to(dtype) if dtype and tensor.ndim else tensor for name, tensor in tensors.items()}


def _write(tensors: dict[str, Tensor], target: Path, stage: Stage, source: Mapping[str, str]) -> None:
    if target.suffix.lower() == SAFETENSORS:
        training = {key: value for key, value in source.items() if key.startswith(TRAINING_KEYS)}
        write_tensors(tensors, target, {**training, **metadata_of(stage.spec)})
        return
    # A pickle has no metadata: ours is stored as a tensor, which the original code ignores.
    whole = {**tensors, EMBEDDED: embed(stage.spec)}
    content = {CONTAINERS[0]: {WRAPPER + name: tensor.contiguous() for name, tensor in whole.items()}}
    with written(target) as part:
        save_pickle(content, part, target)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.export", description="Writes the result of a training run as one file."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a training run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="a .safetensors or .pt file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, metavar="N", help="export the checkpoint of this step; default: the newest")
    which.add_argument("--best", action="store_true", help="export the one with the least loss on validation clips")
    parser.add_argument("--no-ema", action="store_true", help="export the last weights instead of the averaged ones")
    parser.add_argument("--dtype", choices=[*DTYPES, INT8], help="precision to store; default: as trained")
    parser.add_argument("--merge", action="store_true", help="merge a run's adapters into its stage")
    parser.add_argument("--weak", action="store_true", help="KeyFace: as the weaker copy that guides the interpolation")
    parser.add_argument("--vae", type=Path, metavar="PATH", help="add the decoder of this VAE")
    parser.add_argument("--card", type=Path, metavar="FILE", help="write a model card in Markdown")
    parser.add_argument("--licence", default="", metavar="ID", help="for the card, as the hub names it: apache-2.0 ...")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload the file with its card to Hugging Face")
    parser.add_argument("--public", action="store_true", help="a new repository there is public; default: private")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="export: %(message)s")
    try:
        if (options.card or options.push_to_hub) and Run(options.run).stage in LIPS_STAGES:
            raise KeySyncError("a model card is not for parts of FlashLips: omit --card and --push-to-hub")
        if options.push_to_hub:
            check_hub(options.push_to_hub)
        step = _best(Run(options.run)) if options.best else options.step
        what = export(
            options.run,
            options.output,
            step=step,
            averaged=not options.no_ema,
            dtype=DTYPES.get(options.dtype),
            eight_bits=options.dtype == INT8,
            merge=options.merge,
            vae=options.vae,
            weak=options.weak,
        )
        print(f"export: {options.output}: {what}")
        if options.card or options.push_to_hub:
            text = _card(options, step, what)
            if options.card:
                with written(options.card) as part:
                    part.write_text(text, encoding="utf-8")
            if options.push_to_hub:
                print(f"export: {push(options.output, text, options.push_to_hub, public=options.public)}")
    except KeySyncError as error:
        print(f"export: error: {error}", file=sys.stderr)
        return 1
    return 0


def _best(run: Run) -> int:
    best = run.best()
    if best is None:
        raise KeySyncError(f"{run.folder} has no checkpoint that was validated: set sample_every, or omit --best")
    return best


def _card(options: argparse.Namespace, step: int | None, what: str) -> str:
    run = Run(options.run)
    step, place = run.chosen(step, run.config().checkpoint_every)
    file = place / (ADAPTERS if (place / ADAPTERS).is_file() else STAGE)
    return card(run, step, what, options.output.name, read_tensors(file)[1], options.licence)


if __name__ == "__main__":
    sys.exit(main())
