"""The table as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .row import Row

HEADS = ("", "figure", "95 % interval", "bound", "")


def as_text(rows: Sequence[Row]) -> str:
    """A line per row; the last column says whether the bound holds."""
    lines = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def as_json(rows: Iterable[Row]) -> dict[str, Any]:
    """Each row's figure by its key, and under `rows` its interval, its bounds and whether they hold."""
    rows = list(rows)
    table = {
        row.key: {
            "title": row.title,
            "value": row.estimate.value,
            "interval": [row.estimate.low, row.estimate.high],
            "bound": row.bound,
            "holds": row.holds if row.bounded else None,
        }
        for row in rows
    }
    return {**{row.key: row.estimate.value for row in rows}, "rows": table, "holds": all(row.holds for row in rows)}


def _cells(row: Row) -> tuple[str, ...]:
    found = row.estimate
    verdict = ("holds" if row.holds else "FAILS") if row.bounded else ""
    return row.title, f"{found.value:.3f}", f"{found.low:.3f} .. {found.high:.3f}", row.bound, verdict
