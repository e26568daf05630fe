"""Compares systems on your own clips: python -m training.benchmark CLIPS -o FOLDER [--system NAME ...].

The protocols are those of the paper: each clip is dubbed with its own sound (reconstruction), with the sound of another
(cross-sync), and with silence (LipLeak). Systems of KeySync are run; results of any other system are put into
FOLDER/results/SYSTEM/PROTOCOL by the names in FOLDER/pairs.csv. The table is printed and written into the folder as
Markdown, CSV and JSON; a column whose network is not given says so. Exit codes: 0 done, 1 an error, reported in one
line.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from keysync.errors import KeySyncError
from keysync.systems.renderer import Option
from keysync.systems.table import SYSTEMS

from .data.disk import disk, written
from .evaluation.benchmark.columns import HOOKS, open_meters
from .evaluation.benchmark.measuring import measure_all, rows_of
from .evaluation.benchmark.pairs import PROTOCOLS, Pair, draw_clips, pairs_of
from .evaluation.benchmark.results import PAIRS, RESULTS, make, systems_of, write_pairs
from .evaluation.benchmark.table import Table, as_csv, as_markdown
from .evaluation.benchmark.votes import VOTES, read_votes
from .evaluation.real.clips import LONGEST
from .evaluation.scope import ModelFiles, open_models

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    try:
        table = benchmark(options)
        text = as_markdown(table, options.beside_paper)
        for name, content in (
            ("benchmark.md", text),
            ("benchmark.csv", as_csv(table)),
            ("benchmark.json", json.dumps(table.to_dict(), indent=1, ensure_ascii=False) + "\n"),
        ):
            with written(options.output / name) as file:
                file.write_text(content, encoding="utf-8")
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text, end="")
    return 0


def benchmark(options: argparse.Namespace) -> Table:
    """Draws the clips, dubs what has no result yet, and measures all results. Raises `KeySyncError`."""
    _check(options)
    files = {option.name: getattr(options, option.name) for option in _files().values()}
    device = torch.device(options.device)
    meters, missing = open_meters(files, device)  # an error in a file ends here, before anything is dubbed
    with disk(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    clips, left_out = draw_clips(options.clips, options.count, options.longest, options.seed)
    pairs = pairs_of(clips)
    write_pairs(options.output, pairs)
    undubbed = {name: _dub(name, pairs, files, options) for name in options.system}
    systems = systems_of(options.output)
    found = measure_all(options.output, systems, pairs, meters, options.longest)
    notes = [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    notes += [f"not dubbed by {name}: {pair}: {why}" for name, reasons in undubbed.items() for pair, why in reasons]
    notes += [f"not measured: {name}: {reason}" for name, reason in found.unread.items()]
    if not read_votes(options.output / VOTES):
        missing["elo"] = f"needs votes on results of two systems: python -m training.vote {options.output}"
    if not systems:
        notes.append(f"no results yet: name a --system, or put results into {RESULTS}/SYSTEM/PROTOCOL, see {PAIRS}")
    settings = {
        "clips": [clip.name for clip in clips],
        "seed": options.seed,
        "longest": options.longest,
        "protocols": PROTOCOLS,
    }
    return Table(rows_of(options.output, systems, pairs, meters, found), missing, notes, settings)


def _dub(
    name: str, pairs: Sequence[Pair], files: Mapping[str, Path | None], options: argparse.Namespace
) -> list[tuple[str, str]]:
    """Dubs with one of KeySync's systems; returns the pairs that it did not dub, and why."""
    renderer = open_models(ModelFiles(files, options.device, name))
    undubbed = []
    for clip in dict.fromkeys(pair.clip for pair in pairs):
        mine = [pair for pair in pairs if pair.clip is clip]
        try:
            for pair in make(options.output, name, renderer, mine, options.seed):
                logger.info("%s, %s: %s is dubbed", name, pair.protocol, pair.name)
        except KeySyncError as error:
            undubbed.append((clip.name, str(error)))
    return undubbed


def _check(options: argparse.Namespace) -> None:
    if options.count is not None and options.count < 2:
        raise KeySyncError(f"{options.count} clips: expected at least 2, which swap voices (--clips)")
    if not 1 <= options.longest <= LONGEST:
        raise KeySyncError(f"{options.longest:g} seconds of each clip: expected 1 to {LONGEST:g} (--longest)")


def _files() -> dict[str, Option]:
    """The options that name files, of the systems and of the columns' networks, by name."""
    options = [*(option for system in SYSTEMS.values() for option in system.files), *(hook.option for hook in HOOKS)]
    return {option.name: option for option in options}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmark",
        description="Compares systems on your own clips, by the protocols and columns of the paper.",
    )
    parser.add_argument("clips", type=Path, metavar="CLIPS", help="folder of talking clips with sound")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="results and the table")
    parser.add_argument(
        "--system",
        nargs="+",
        choices=list(SYSTEMS),
        default=[],
        metavar="NAME",
        help=f"run these: {', '.join(SYSTEMS)}",
    )
    parser.add_argument("--clips", dest="count", type=int, metavar="N", help="so many of the clips (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of clips and of dubs (default: %(default)s)")
    parser.add_argument(
        "--longest", type=float, default=10.0, metavar="S", help="seconds of each clip (default: %(default)g)"
    )
    parser.add_argument("--beside-paper", action="store_true", help="print the paper's tables 1 and 2 below")
    parser.add_argument("--device", default="cpu", help="device of the networks (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="report progress")
    for option in _files().values():
        option.add(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
