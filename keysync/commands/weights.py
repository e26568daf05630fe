"""The commands `download`, `inspect` and `convert`: what is done with files of weights."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from ..errors import KeySyncError
from ..systems.flashlips.bundle import convert_bundle, open_bundle, sizes_of
from ..systems.flashlips.spec import SYSTEM as FLASHLIPS
from ..systems.table import HEADS, SYSTEMS
from ..weights.checkpoint import DTYPES
from ..weights.checkpoint import convert as convert_checkpoint
from ..weights.describe import describe
from ..weights.download import fetch, hub_address, models_folder, place
from ..weights.files import read_tensors, shapes_of
from ..weights.identify import identify
from ..weights.published import SETS, PublishedFile, in_words
from .options import system_options

# Options of a conversion that stages alone have.
OF_STAGES = ("head_dim", "latent_size", "audio_guidance", "identity_guidance", "weak")


def download(options: argparse.Namespace) -> None:
    """Downloads published weights by their licences. Raises `KeySyncError` without consent."""
    chosen, folder = SETS[options.files], options.to or models_folder()
    files = chosen.files
    for file in files:
        print(_described(file, folder))
    total = in_words(sum(file.size for file in files))
    if not options.yes:
        _ask(f"Download {total} from {hub_address()}, by the licences above?")
    for file in files:
        print(f"keysync: {fetch(file, folder)}", flush=True)
    known = system_options((*SYSTEMS.values(), *HEADS.values()))
    flags = {name.removesuffix("_model"): option.flag for name, option in known.items()}
    words = [word for file in files for word in (flags[file.input], str(place(file, folder)))]
    for name, todo in chosen.by_hand.items():
        print(f"keysync: {todo}")
        words += [flags[name], name.upper()]
    print(f"keysync: to use them: keysync {chosen.use} {shlex.join(words)}")


def inspect(options: argparse.Namespace) -> None:
    """Prints what a weight file is."""
    found = describe(options.file, {FLASHLIPS: lambda path: sizes_of(open_bundle(path))})
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)


def convert(options: argparse.Namespace) -> None:
    """Writes a checkpoint as safetensors with metadata. Raises `KeySyncError` for options that it has no use for."""
    dtype = DTYPES[options.dtype] if options.dtype else None
    if identify(shapes_of(read_tensors(options.source)[0]))[0] == FLASHLIPS:
        unused = [name.replace("_", " ") for name in OF_STAGES if getattr(options, name)]
        if unused:
            raise KeySyncError(f"{options.source} is a FlashLips file, which has no {unused[0]}: leave it out")
        convert_bundle(options.source, options.target, dtype)
        print(f"keysync: wrote {options.target}")
        return
    convert_checkpoint(
        options.source,
        options.target,
        head_dim=options.head_dim,
        latent_size=options.latent_size,
        audio_guidance=options.audio_guidance,
        identity_guidance=options.identity_guidance,
        weak=options.weak,
        dtype=dtype,
    )
    print(f"keysync: wrote {options.target}")


def _described(file: PublishedFile, folder: Path) -> str:
    return (
        f"{place(file, folder)} ({file.what}, about {in_words(file.size)})\n"
        f"  from {file.repository} ({file.owner}): {file.path}, revision {file.revision}\n"
        f"  licence: {file.licence}\n"
        f"  SHA-256: {file.sha256 or 'unknown; compared with what the hub states'}"
    )


def _ask(question: str) -> None:
    """Raises `KeySyncError` unless a person says yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise KeySyncError("nothing is downloaded without consent, and there is no terminal to ask at", about="yes")
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeySyncError("nothing is downloaded: the answer was not yes")
