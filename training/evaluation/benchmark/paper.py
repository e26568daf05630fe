"""The figures of the paper's tables 1 and 2 (Bigata et al., KeySync, 2025), as printed there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .pairs import CROSS, RECONSTRUCTION

KEYS = ("cmmd", "topiq", "vl", "fvd", "lipscore", "lipleak", "elo")
ABLATION_KEYS = ("cmmd", "fvd", "lipscore")


@dataclass(frozen=True)
class PaperRow:
    """A row of a table: figures by the key of their column."""

    protocol: str
    system: str
    figures: Mapping[str, str]


def _row(protocol: str, system: str, figures: str) -> PaperRow:
    """Figures in the order of `KEYS`; "-" for none."""
    named = zip(KEYS, figures.split(), strict=True)
    return PaperRow(protocol, system, {key: figure for key, figure in named if figure != "-"})


PAPER = (
    _row(RECONSTRUCTION, "DiffDub", "0.403 0.44 37.12 429.07 0.34 - 1014"),
    _row(RECONSTRUCTION, "IP_LAP", "0.091 0.49 37.77 282.02 0.36 - 1007"),
    _row(RECONSTRUCTION, "Diff2Lip", "0.225 0.48 35.84 555.08 0.49 - 886"),
    _row(RECONSTRUCTION, "TalkLip", "0.230 0.39 29.07 608.92 0.58 - 920"),
    _row(RECONSTRUCTION, "LatentSync", "0.319 0.41 45.23 343.90 0.52 - 1052"),
    _row(RECONSTRUCTION, "KeySync", "0.064 0.58 70.32 191.21 0.46 - 1120"),
    _row(CROSS, "DiffDub", "0.408 0.44 37.05 420.66 0.34 0.56 947"),
    _row(CROSS, "IP_LAP", "0.093 0.49 35.32 294.66 0.17 0.28 1031"),
    _row(CROSS, "Diff2Lip", "0.231 0.48 33.97 601.68 0.16 0.25 878"),
    _row(CROSS, "TalkLip", "0.201 0.42 24.80 704.93 0.30 0.66 911"),
    _row(CROSS, "LatentSync", "0.325 0.41 45.95 361.57 0.14 0.33 1086"),
    _row(CROSS, "KeySync", "0.070 0.58 73.04 206.32 0.48 0.16 1145"),
)
ABLATIONS = tuple(
    PaperRow(CROSS, name, dict(zip(ABLATION_KEYS, figures.split(), strict=True)))
    for name, figures in (
        ("one stage", "0.085 395.45 0.32"),
        ("without temporal layers", "0.142 618.27 0.39"),
        ("whole", "0.070 206.32 0.48"),
    )
)
