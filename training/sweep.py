"""Compares ways of sampling on the same films: python -m training.sweep [--levels 700,6,0.9 ...] [--json FILE].

Each row is a preset, a schedule given by its noise levels, or a distilled pair of models, with what it costs and what
the dubs lose: held-out people and sentences with exact landmarks, dubbed by the built-in models or by those that are
given.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keysync.correlation import correlation
from keysync.errors import KeySyncError
from keysync.network.guidance import EVERYWHERE, Interval
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.presets import EXACT, PRESETS, make_sampling
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.keysync.system import FILES

from .data.disk import written
from .evaluation.film import quiet_film, talk_film
from .evaluation.likeness import ratio
from .evaluation.reader import Reader
from .evaluation.reading import Quiet, Talk
from .evaluation.scope import ModelFiles, Scope, open_models, side_of
from .evaluation.table import aligned
from .synthetic.measure.metrics import Estimate, jitter, lip_leak, mean_of, sync

FILMS = 12
HEADS = (
    "sampling",
    "evaluations",
    "correlation",
    "against exact",
    "lip shape",
    "jitter",
    "around silence",
    "LipLeak",
    "seconds",
)
# Columns that are figures with an interval, in the order of `HEADS`.
FIGURES = ("correlation", "against_exact", "shape", "jitter", "talking", "lipleak")
# Above every noise level: a schedule without guidance.
NOWHERE: Interval = (np.inf, np.inf)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Swept:
    """A way of sampling: its evaluations for a window of each stage, the films dubbed with it, and how long it took."""

    name: str
    evaluations: int
    talks: Sequence[Talk]
    quiets: Sequence[Quiet]
    seconds: float

    def figures(self, exact: Swept) -> dict[str, Estimate]:
        """What the dubs are like; `against_exact` is the correlation that each film gains over the exact schedule."""
        read, truth = [talk.read for talk in self.talks], [talk.truth for talk in self.talks]
        gained = [
            correlation(one.read, one.truth) - correlation(other.read, other.truth)
            for one, other in zip(self.talks, exact.talks, strict=True)
        ]
        quiets = self.quiets
        return {
            "correlation": sync(read, truth).correlation,
            "against_exact": mean_of(gained),
            "shape": ratio([talk.shape for talk in self.talks]),
            "jitter": jitter(read, [talk.real for talk in self.talks]),
            "talking": sync([quiet.read for quiet in quiets], [quiet.truth for quiet in quiets]).correlation,
            "lipleak": lip_leak([quiet.silent for quiet in quiets]),
        }


def sweep(ways: Mapping[str, Models], films: int, seed: int) -> list[Swept]:
    """Each way, models with their sampling, on the same films: so many talks, and as many with a silence in the middle.

    The films are as wide as suits the first.
    """
    scope, side = Scope(seed), side_of(next(iter(ways.values())))
    talks = [talk_film(seed, number, scope.talk_frames, side) for number in range(films)]
    quiets = [quiet_film(seed, number, scope.quiet_frames, side) for number in range(films)]
    swept = []
    for name, models in ways.items():
        reader = Reader(lambda _, models=models: models)  # type: ignore[misc]
        began = time.monotonic()
        made = [reader.talk(film, False) for film in talks], [reader.quiet(film, False) for film in quiets]
        stages = models.keyframe, models.interpolation
        evaluations = sum(models.sampling.network_evaluations(stage.spec) for stage in stages)
        swept.append(Swept(name, evaluations, *made, time.monotonic() - began))
        logger.info("%s: %.0f s", name, swept[-1].seconds)
    return swept


def as_lines(swept: Sequence[Swept]) -> list[tuple[str, ...]]:
    """A line per way: costs as shares of the first, figures with their intervals."""
    exact = swept[0]
    lines: list[tuple[str, ...]] = [HEADS]
    for one in swept:
        figures = one.figures(exact)
        cells = [f"{e.value:.3f} ({e.low:.3f} .. {e.high:.3f})" for e in (figures[name] for name in FIGURES)]
        share = exact.evaluations / one.evaluations
        lines.append((one.name, f"{one.evaluations} (1/{share:.1f})", *cells, f"{one.seconds:.0f}"))
    return lines


def as_json(swept: Sequence[Swept]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        one.name: {
            "evaluations": one.evaluations,
            "seconds": round(one.seconds, 1),
            **{name: [e.value, e.low, e.high] for name, e in one.figures(swept[0]).items()},
        }
        for one in swept
    }


def schedules_of(entries: Sequence[str], interval: Interval, note: str = "") -> dict[str, Sampling]:
    """Schedules of noise levels, guided in an interval of them, by name: the entry and a note.

    Raises `KeySyncError` for levels that are no falling numbers.
    """
    schedules = {}
    for entry in entries:
        try:
            numbers = tuple(float(part) for part in entry.split(","))
        except ValueError:
            raise KeySyncError(f"the noise levels {entry!r} are no numbers: expected for instance 700,6,0.9") from None
        schedules[entry + note] = Sampling(levels=numbers, guidance_interval=interval)
    return schedules


def ways_of(options: argparse.Namespace) -> dict[str, Models]:
    """The exact schedule, the presets, and what the command line adds, by name.

    Raises `KeySyncError` as `schedules_of` and `open_models` do, and for two ways of one name.
    """
    models = _models(options)
    interval = EVERYWHERE if options.guided_from is None else (options.guided_from, np.inf)
    samplings = {name: make_sampling(name) for name in (EXACT, *(name for name in PRESETS if name != EXACT))}
    samplings |= schedules_of(options.levels, interval) | schedules_of(options.unguided, NOWHERE, " unguided")
    ways = {name: replace(models, sampling=sampling) for name, sampling in samplings.items()}
    for keyframe, interpolation in options.distilled:
        name = f"{keyframe.stem} + {interpolation.stem}"
        if name in ways:
            raise KeySyncError(f"two pairs of models are named {name}: rename the files of one")
        ways[name] = _models(options, keyframe_model=keyframe, interpolation_model=interpolation)
    return ways


def _models(options: argparse.Namespace, **others: Path) -> Models:
    """The models that the command line names, with others in place of some."""
    paths = {option.name: getattr(options, option.name) for option in FILES}
    models = open_models(ModelFiles(paths | others, options.device))
    assert isinstance(models, Models)
    return models


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    try:
        if options.films < 2:
            raise KeySyncError(f"{options.films} films give no interval: expected at least 2 (--films)")
        swept = sweep(ways_of(options), options.films, options.seed)
        if options.json is not None:
            with written(options.json) as file:
                file.write_bytes(json.dumps(as_json(swept), indent=1).encode() + b"\n")
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(aligned(as_lines(swept)))
    print(f"{options.films} talks and {options.films} films with a silence, seed {options.seed}; 95 % intervals")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.sweep", description="Compares ways of sampling.")
    parser.add_argument("--levels", nargs="+", default=(), metavar="L,L,...", help="noise levels of a schedule")
    parser.add_argument("--guided-from", type=float, metavar="L", help="guide these schedules above this level only")
    parser.add_argument("--unguided", nargs="+", default=(), metavar="L,L,...", help="the same, without guidance")
    parser.add_argument(
        "--distilled",
        nargs=2,
        type=Path,
        action="append",
        default=[],
        metavar=("KEYFRAME", "INTERPOLATION"),
        help="a distilled pair of models, sampled at its own noise levels; may be repeated",
    )
    parser.add_argument("--films", type=int, default=FILMS, metavar="N", help="films of each kind (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="seed of people, voices and sentences")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    for option in FILES:
        option.add(parser)
    parser.add_argument("--device", default="cpu", help="device of the models (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="report progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
