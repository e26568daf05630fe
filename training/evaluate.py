"""Evaluates models on people and sentences held out from training: python -m training.evaluate [--json F].

The library dubs rendered clips with exact landmarks; the mouth is measured in the pixels of the result. Each figure
comes with a 95 % interval over the clips and a bound that the whole interval must satisfy. Exit codes: 0 all bounds
hold, 1 an error, reported in one line, 2 a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.network.stage import ROWS
from keysync.speech.encoders import ENCODERS
from keysync.systems.keysync.small import SMALL

from .data.disk import written
from .evaluation.scope import ModelFiles, Scope, open_models, read_all, rows_of
from .evaluation.table import as_json, as_text

MOST_WORKERS = 4  # by default: each process holds the models


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    began = time.monotonic()
    try:
        if options.workers < 0:
            raise KeySyncError(f"{options.workers} processes: expected 1 or more, or 0 for the default (--workers)")
        scope = Scope(options.seed, options.clips)
        files = ModelFiles({name: getattr(options, name) for name in _models()}, options.device)
        models = open_models(files)
        rows = rows_of(read_all(files, scope, options.workers or _workers(options.device)))
        result = as_json(rows) | {"seed": scope.seed, "clips": scope.clips}
        result |= {"models": models.origins, "seconds": round(time.monotonic() - began, 1)}
        if options.json is not None:
            with written(options.json) as file:
                file.write_bytes(json.dumps(result, indent=1).encode() + b"\n")
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(as_text(rows))
    failed = [row.key for row in rows if not row.holds]
    print(f"{len(failed)} bounds do not hold: {', '.join(failed)}" if failed else "all bounds hold")
    print(f"{2 * scope.clips} clips, seed {scope.seed}, {result['seconds']} s")
    return 2 if failed else 0


def _workers(device: str) -> int:
    return min(MOST_WORKERS, os.cpu_count() or 1) if device == "cpu" else 1


def _models() -> tuple[str, ...]:
    """What an evaluation runs on, by the names of `load_models`."""
    return (*ROWS, "vae", *ENCODERS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Evaluates models on held-out people and sentences."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--seed", type=int, default=Scope.seed, help="seed of people, voices and sentences")
    parser.add_argument("--clips", type=int, default=Scope.clips, help="clips of each kind (default: %(default)s)")
    for name in _models():
        flag = f"--{name}-model" if name in ROWS else f"--{name}"
        default = "built-in" if name in SMALL else "none"
        parser.add_argument(flag, dest=name, type=Path, metavar="PATH", help=f"file or folder (default: {default})")
    parser.add_argument("--device", default="cpu", help="device of the models (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=0, help=f"processes (default: up to {MOST_WORKERS} on a CPU, else 1)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="report progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
