"""The table of a benchmark: measured rows, and its forms as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .columns import COLUMNS
from .meters import Cell
from .paper import ABLATION_KEYS, ABLATIONS, KEYS, PAPER, PaperRow

NOTHING = "-"


@dataclass(frozen=True)
class Row:
    """A system under a protocol: its cells by the key of their column, and how many of `pairs` it has results for."""

    protocol: str
    system: str
    results: int
    pairs: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """All rows; `missing` says why whole columns have no figures, `notes` what else a reader must know."""

    rows: Sequence[Row]
    missing: Mapping[str, str]
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds."""
        return {
            **self.settings,
            "rows": [
                {
                    "protocol": row.protocol,
                    "system": row.system,
                    "results": row.results,
                    "pairs": row.pairs,
                    **{key: _as_json(row.cells.get(key), self.missing.get(key)) for key in COLUMNS},
                }
                for row in self.rows
            ],
            "missing": dict(self.missing),
            "notes": list(self.notes),
        }


def as_csv(table: Table) -> str:
    """A line for each figure: protocol, system, column, figure, its interval, clips, and why there is none."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("protocol", "system", "column", "value", "low", "high", "clips", "missing"))
    for row in table.rows:
        for key in COLUMNS:
            found = _as_json(row.cells.get(key), table.missing.get(key))
            interval = found["interval"] or ("", "")
            value = "" if found["value"] is None else found["value"]
            rows.writerow((row.protocol, row.system, key, value, *interval, found["clips"], found["missing"] or ""))
    return text.getvalue()


def as_markdown(table: Table, beside_paper: bool = False) -> str:
    """The table with the intervals in brackets, what is missing, and the paper's rows below if they are wanted."""
    shown = [key for key in COLUMNS if key in KEYS or any(_has(row, key) for row in table.rows)]
    heads = ["protocol", "system", "clips", *(COLUMNS[key].head for key in shown)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in table.rows:
        cells = [_cell(row.cells.get(key), COLUMNS[key].digits) for key in shown]
        lines.append(_line([row.protocol, row.system, f"{row.results} of {row.pairs}", *cells]))
    lines += ["", "In brackets: 95 % intervals from a bootstrap over the clips. The columns:", ""]
    lines += [f"- **{COLUMNS[key].title}**: {COLUMNS[key].what}." for key in shown]
    if table.missing:
        lines += ["", "Not measured:", ""]
        lines += [f"- **{COLUMNS[key].title}** {why}." for key, why in table.missing.items()]
    if table.notes:
        lines += ["", *(f"- {note}." for note in table.notes)]
    if beside_paper:
        lines += ["", *paper_lines()]
    return "\n".join(lines) + "\n"


def paper_lines() -> list[str]:
    """Tables 1 and 2 of the paper: other clips than these, so only the order of systems compares."""
    return [
        "From the paper (Bigata et al., 2025, tables 1 and 2), on 100 clips of CelebV-Text, CelebV-HQ and HDTF. Other",
        "clips give other figures: compare the order of systems, not the numbers.",
        "",
        *_paper_table("system", KEYS, PAPER),
        "",
        *_paper_table("KeySync", ABLATION_KEYS, ABLATIONS),
    ]


def _paper_table(title: str, keys: Sequence[str], rows: Iterable[PaperRow]) -> Iterator[str]:
    yield _line(["protocol", title, *(COLUMNS[key].head for key in keys)])
    yield _line(["---"] * (len(keys) + 2))
    for row in rows:
        yield _line([row.protocol, row.system, *(row.figures.get(key, NOTHING) for key in keys)])


def _has(row: Row, key: str) -> bool:
    cell = row.cells.get(key)
    return cell is not None and cell.estimate is not None


def _cell(cell: Cell | None, digits: int) -> str:
    if cell is None or cell.estimate is None:
        return NOTHING
    value, low, high = (
        f"{number:.{digits}f}" for number in (cell.estimate.value, cell.estimate.low, cell.estimate.high)
    )
    return f"{value} [{low}, {high}]"


def _as_json(cell: Cell | None, missing: str | None) -> dict[str, Any]:
    if cell is None or cell.estimate is None:
        why = missing or (cell.why if cell is not None else "") or "not a part of this protocol"
        return {"value": None, "interval": None, "clips": 0 if cell is None else cell.count, "missing": why}
    found = cell.estimate
    return {"value": found.value, "interval": [found.low, found.high], "clips": cell.count, "missing": None}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
