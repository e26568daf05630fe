"""Evaluates a system: python -m training.evaluate [--system NAME] [--real FOLDER ...] [--json F].

By default it dubs rendered clips of people and sentences held out from training, with exact landmarks; the mouth is
measured in the pixels of the result. With --real it dubs real talking clips with each other's voices, and measures
mouths on the face mesh. A system that makes talking heads, such as keyface, animates one picture of each rendered
person, and the meter in the file of --meter reads the result. Each figure comes with a 95 % interval over the clips and
a bound: for rendered clips the whole interval must satisfy it, for real ones the figure. Exit codes: 0 all bounds hold,
1 an error, reported in one line, 2 a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError
from keysync.systems.renderer import Option
from keysync.systems.table import HEADS, SYSTEMS

from .data.disk import written
from .evaluation.heads.scope import HeadScope
from .evaluation.real.table import RealScope, clips_as_text
from .evaluation.real.table import evaluate as evaluate_real
from .evaluation.row import Row
from .evaluation.scope import ModelFiles, Scope, open_models, read_all, rows_of
from .evaluation.table import as_json, as_text
from .synthetic.measure.head_meter import COMMAND

# The rows of options and models, what JSON holds beside them, and a summary.
Evaluation = Callable[[argparse.Namespace, ModelFiles], tuple[list[Row], dict[str, Any], str]]

MOST_WORKERS = 4  # by default: each process holds the models


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    began = time.monotonic()
    try:
        files = ModelFiles({name: getattr(options, name) for name in _files()}, options.device, options.system)
        rows, result, summary = _evaluation(options)(options, files)
        result = as_json(rows) | {"system": options.system, "seed": options.seed} | result
        result |= {"models": dict(open_models(files).origins), "seconds": round(time.monotonic() - began, 1)}
        if options.json is not None:
            with written(options.json) as file:
                file.write_bytes(json.dumps(result, indent=1).encode() + b"\n")
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(as_text(rows))
    failed = [row.key for row in rows if not row.holds]
    print(f"{len(failed)} bounds do not hold: {', '.join(failed)}" if failed else "all bounds hold")
    print(f"{summary}, seed {options.seed}, {result['seconds']} s")
    return 2 if failed else 0


def _evaluation(options: argparse.Namespace) -> Evaluation:
    """How the options' system is evaluated. Raises `KeySyncError` for real clips of a system that dubs none."""
    if options.system not in HEADS:
        return _real if options.real else _rendered
    if options.real:
        raise KeySyncError(f"{options.system} dubs no clips: expected rendered people; omit --real")
    return _heads


def _heads(options: argparse.Namespace, files: ModelFiles) -> tuple[list[Row], dict[str, Any], str]:
    """The rows over rendered pictures that are animated."""
    from .evaluation.heads.table import evaluate as evaluate_heads  # here: no dub needs it

    if options.meter is None:
        raise KeySyncError(f"the meter of heads is missing: train it with {COMMAND}, and give the file with --meter")
    scope = HeadScope(options.seed, HeadScope.clips if options.clips is None else options.clips)
    workers = _workers(options)
    open_models(files)  # an error ends here, before any process starts
    rows = evaluate_heads(files, options.meter, scope, workers)
    result = {"clips": scope.clips, "frames": scope.frames, "long_seconds": scope.seconds, "meter": str(options.meter)}
    return rows, result, f"{scope.clips} clips of {scope.frames} frames and one of {scope.seconds} s"


def _rendered(options: argparse.Namespace, files: ModelFiles) -> tuple[list[Row], dict[str, Any], str]:
    """The rows over rendered clips, what JSON holds beside them, and a summary."""
    scope = Scope(options.seed, Scope.clips if options.clips is None else options.clips)
    workers = _workers(options)
    open_models(files)  # an error ends here, before any process starts
    rows = rows_of(read_all(files, scope, workers))
    return rows, {"clips": scope.clips}, f"{2 * scope.clips} clips"


def _real(options: argparse.Namespace, files: ModelFiles) -> tuple[list[Row], dict[str, Any], str]:
    """The same over real clips; prints the figures of each clip."""
    scope = RealScope(
        tuple(options.real),
        options.clips,
        options.voices,
        options.longest,
        options.seed,
        tuple(options.in_sync),
        options.sheets,
    )
    table = evaluate_real(open_models(files), scope)
    print(clips_as_text(table.clips), end="\n\n")
    for kind, reasons in (("left out", table.left_out), ("not dubbed", table.undubbed)):
        for name, reason in reasons.items():
            print(f"{kind}: {name}: {reason}")
    lags = ", ".join(f"{name} {1000 * lag:.0f}" for name, lag in table.lags.items())
    print(f"lag of each voice in ms: {lags}", end="\n\n")
    return table.rows, table.to_dict(), f"{len(table.clips)} clips"


def _workers(options: argparse.Namespace) -> int:
    """How many processes the options ask for. Raises `KeySyncError` for fewer than none."""
    if options.workers < 0:
        raise KeySyncError(f"{options.workers} processes: expected 1 or more, or 0 for the default (--workers)")
    default = min(MOST_WORKERS, os.cpu_count() or 1) if options.device == "cpu" else 1
    return int(options.workers or default)


def _files() -> dict[str, Option]:
    """The options that name the files of all systems, by name."""
    return {option.name: option for system in (*SYSTEMS.values(), *HEADS.values()) for option in system.files}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Evaluates a system on held-out rendered people and sentences, or on real clips.",
        epilog="Models default to those that are built in; keyface has none.",
    )
    parser.add_argument("--system", choices=[*SYSTEMS, *HEADS], default=ModelFiles.system, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument(
        "--seed", type=int, default=Scope.seed, help="seed of people, voices and sentences, or of the choice of clips"
    )
    parser.add_argument(
        "--clips",
        type=int,
        metavar="N",
        help=f"clips of each kind (default: {Scope.clips}; heads: {HeadScope.clips}); real: all",
    )
    for option in _files().values():
        option.add(parser)
    parser.add_argument(
        "--meter",
        type=Path,
        metavar="FILE",
        help="keyface: the meter of heads, which training.synthetic.measure.head_meter_training writes",
    )
    parser.add_argument("--device", default="cpu", help="device of the models (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=0, help=f"processes (default: up to {MOST_WORKERS} on a CPU, else 1)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="report progress")
    real = parser.add_argument_group("real clips")
    real.add_argument("--real", type=Path, nargs="+", metavar="FOLDER", help="folders of talking clips with sound")
    real.add_argument(
        "--voices",
        type=int,
        default=RealScope.voices,
        metavar="N",
        help="other clips' voices for each (default: %(default)s)",
    )
    real.add_argument(
        "--longest", type=float, default=RealScope.seconds, metavar="S", help="seconds of a dub (default: %(default)s)"
    )
    real.add_argument(
        "--in-sync",
        nargs="+",
        default=(),
        metavar="PATTERN",
        help="names of clips whose sound is in sync with the picture: the lag of their voice is 0",
    )
    real.add_argument("--sheets", type=Path, metavar="FOLDER", help="write a contact sheet of each clip as PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
