"""Judges models on people and sentences that no training has seen: python -m training.evaluate [--json F].

Clips of the rendered world are dubbed by the library with exact landmarks, mouths are read from the pixels of the
result, and each figure comes with a 95 % interval over the clips and the bound that the whole interval has to keep.
Exit codes: 0 all bounds hold, 1 an error said in one line, 2 some bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.models import Models, load_models

from .evaluation.film import quiet_film, talk_film
from .evaluation.reading import ModelsOf, Reader
from .evaluation.row import Row
from .evaluation.rows import ablation_rows, covered_rows, outside_row, quiet_rows, talk_rows
from .evaluation.table import as_json, as_text
from .preparation.whole_file import whole_file
from .synthetic.occluder import OCCLUDERS

logger = logging.getLogger(__name__)

SIDES = (128, 512)  # the least and most that a picture is wide; in between twice as wide as the models' crops


@dataclass(frozen=True)
class Scope:
    """How much is rendered and dubbed: `clips` with another speech and as many with a silence, a third of them once
    more for each ablation, and a sixth with something before the mouth, at least two.

    A clip of 53 frames takes four windows and a batch of keyframes. As it stands that makes 94 samplings of a window.
    """

    seed: int = 0
    clips: int = 6
    talk_frames: int = 53
    quiet_frames: int = 53
    covered_frames: int = 27

    def __post_init__(self) -> None:
        if self.clips < 2:
            raise KeySyncError(f"{self.clips} clips make no interval: give at least 2 (--clips)")

    @property
    def ablations(self) -> int:
        return max(2, self.clips // 3)

    @property
    def covered(self) -> int:
        return max(2, self.clips // 6)


def evaluate(models_of: ModelsOf, side: int, scope: Scope) -> list[Row]:
    """All rows, of films `side` pixels wide."""
    reader, seed = Reader(models_of), scope.seed
    talks, quiets, covered = [], [], []
    for number in range(scope.clips):
        talks.append(reader.talk(talk_film(seed, number, scope.talk_frames, side), number < scope.ablations))
        logger.info("another speech: %d of %d", number + 1, scope.clips)
    for number in range(scope.clips):
        quiets.append(reader.quiet(quiet_film(seed, number, scope.quiet_frames, side), number < scope.ablations))
        logger.info("a silence: %d of %d", number + 1, scope.clips)
    for number in range(scope.covered):
        thing = list(OCCLUDERS)[number % len(OCCLUDERS)]
        covered.append(reader.covered(talk_film(seed, number, scope.covered_frames, side, thing)))
        logger.info("something before the mouth: %d of %d", number + 1, scope.covered)
    outside = [*(t.outside for t in talks), *(q.outside for q in quiets), *(c.outside for c in covered)]
    rows = [*talk_rows(talks), *quiet_rows(quiets), *ablation_rows(talks, quiets), *covered_rows(covered)]
    return [*rows, outside_row(outside)]


def side_of(models: Models) -> int:
    """How wide the films for these models are, in pixels."""
    least, most = SIDES
    return min(max(least, 2 * models.keyframe.spec.image_size[0]), most)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    began = time.monotonic()
    try:
        scope = Scope(options.seed, options.clips)
        models = load_models(
            options.keyframe_model,
            options.interpolation_model,
            options.vae,
            options.hubert,
            options.wavlm,
            device=options.device,
        )
        rows = evaluate(lambda _: models, side_of(models), scope)
        told = as_json(rows) | {"seed": scope.seed, "clips": scope.clips}
        told |= {"models": models.origins, "seconds": round(time.monotonic() - began, 1)}
        if options.json is not None:
            with whole_file(options.json) as file:
                file.write(json.dumps(told, indent=1).encode() + b"\n")
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(as_text(rows))
    failed = [row.key for row in rows if not row.holds]
    print(f"{len(failed)} bounds do not hold: {', '.join(failed)}" if failed else "all bounds hold")
    print(f"{2 * scope.clips} clips, seed {scope.seed}, {told['seconds']} s")
    return 2 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Judges models on people and sentences they never saw."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--seed", type=int, default=Scope.seed, help="of people, voices and sentences")
    parser.add_argument("--clips", type=int, default=Scope.clips, help="of each kind (default: %(default)s)")
    for name in ("keyframe-model", "interpolation-model", "vae", "hubert", "wavlm"):
        parser.add_argument(f"--{name}", type=Path, help="file or folder (default: what the project carries)")
    parser.add_argument("--device", default="cpu", help="where the models run (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say how far it is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
