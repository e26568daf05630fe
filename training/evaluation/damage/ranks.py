"""How well each figure ranks damaged dubs: its rank correlation with the damage that was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# A figure ranks a damage from this rank correlation on.
RANKS = 0.9
# Which figures should tell which damage: the name of the figure, that of the damage, and whether it falls or rises.
TOLD: tuple[tuple[str, str, int], ...] = (
    ("lag_frames", "late", 1),
    ("correlation_without_lag", "late", -1),
    ("correlation", "frozen", -1),
    ("correlation", "loudness", -1),
    ("correlation", "leaked", -1),
    ("loudness_correlation", "loudness", 1),
    ("correlation_over_loudness", "loudness", -1),
    ("source_correlation", "leaked", 1),
    ("lipleak", "leaked in silence", 1),
    ("silent_aspect_ratio", "leaked in silence", 1),
    ("jitter", "trembling", 1),
    ("jitter_over_source", "trembling", 1),
    ("sharpness", "blurred", -1),
    ("sharpness_over_source", "blurred", -1),
    ("colour_shift", "tinted", 1),
    ("seam", "tinted", 1),
    ("identity", "estranged", -1),
    ("outside_block", "spilled", 1),
)

# The figure of each clip at each level of a damage; None where nothing was measured.
Values = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Rank:
    """How well a figure ranks a damage: `within` clips, the mean over them, and over dubs of all clips `pooled`; the
    `means` at each of the `levels`."""

    figure: str
    damage: str
    within: float
    pooled: float
    levels: tuple[float, ...]
    means: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether it ranks the dubs of one clip."""
        return self.within >= RANKS


def rank(figure: str, damage: str, sign: int, levels: Sequence[float], values: Values) -> Rank:
    """The rank of a figure with `values` (clips, levels), which should rise with the damage if `sign` is 1.

    A figure that could not be measured counts as the worst.
    """
    table = np.array([[np.nan if value is None else value for value in row] for row in values], np.float64)
    worst = np.nanmax(sign * table) * sign if np.isfinite(table).any() else 0.0
    table = np.where(np.isfinite(table), table, worst)
    each = [spearman(levels, row) for row in sign * table]
    pooled = spearman(np.tile(levels, len(table)), (sign * table).ravel())
    means = tuple(table.mean(0).tolist())
    return Rank(figure, damage, float(np.mean(each)), pooled, tuple(levels), means)


def spearman(first: Iterable[float], second: Iterable[float]) -> float:
    """The rank correlation of two rows; equal values share their rank, and a constant row has 0."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(list(row))) for row in (first, second)]
    centred = [row - row.mean() for row in ranks]
    size = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float(centred[0] @ centred[1]) / size if size > 0 else 0.0


def lines(ranks: Sequence[Rank], titles: Mapping[str, str]) -> list[str]:
    """A table in Markdown; figures that do not rank their damage are named below it."""
    made = [
        "| figure | damage | rank correlation, one clip's dubs | dubs of all clips | mean by level |",
        "|---|---|---|---|---|",
    ]
    for one in ranks:
        steps = ", ".join(f"{level:g}: {mean:.3g}" for level, mean in zip(one.levels, one.means, strict=True))
        title = titles.get(one.damage, one.damage)
        made.append(f"| `{one.figure}` | {title} | {one.within:.2f} | {one.pooled:.2f} | {steps} |")
    failing = [f"`{one.figure}` ({titles.get(one.damage, one.damage)})" for one in ranks if not one.holds]
    made += ["", f"Below {RANKS}: {', '.join(failing) if failing else 'none'}."]
    return made
