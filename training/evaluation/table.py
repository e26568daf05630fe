"""The table as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .row import Row

HEADS = ("", "figure", "95 % interval", "bound", "")
NOTHING = "\N{EN DASH}"


def as_text(rows: Sequence[Row]) -> str:
    """A line per row; the last column says whether the bound holds."""
    return aligned([HEADS, *(_cells(row) for row in rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def number(value: float | None) -> str:
    """A figure with three decimals, or a dash for none."""
    return NOTHING if value is None else f"{value:.3f}"


def as_json(rows: Iterable[Row]) -> dict[str, Any]:
    """Each row's figure by its key, None where it does not apply, and under `rows` its interval, its bounds and whether
    they hold."""
    rows = list(rows)
    table = {
        row.key: {
            "title": row.title,
            "value": row.value,
            "interval": None if row.estimate is None else [row.estimate.low, row.estimate.high],
            "bound": row.bound,
            "holds": row.holds if row.bounded and row.estimate is not None else None,
        }
        for row in rows
    }
    return {**{row.key: row.value for row in rows}, "rows": table, "holds": all(row.holds for row in rows)}


def _cells(row: Row) -> tuple[str, ...]:
    found = row.estimate
    if found is None:
        return row.title, NOTHING, "", row.bound, ""
    verdict = ("holds" if row.holds else "FAILS") if row.bounded else ""
    return row.title, number(found.value), f"{found.low:.3f} .. {found.high:.3f}", row.bound, verdict
