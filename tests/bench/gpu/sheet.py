"""The table of a run: each row is measured by itself, and one that fails or no longer fits says so and is passed by."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .machine import Machine

MEASURED, FAILED, NOT_RUN = "measured", "failed", "not run"
LONGEST_REASON = 200
NOTHING = "-"

Figures = Mapping[str, float | None]


class NotRunError(Exception):
    """A row is not measured, for this reason."""


class FailedError(Exception):
    """A row was tried and could not be measured, for this reason."""


@dataclass(frozen=True)
class Column:
    """A figure of a section's rows: its key in the JSON, the head of its column, how it is written, in which unit."""

    key: str
    head: str
    form: str = "{:.1f}"
    unit: float = 1.0


@dataclass(frozen=True)
class Row:
    """One measurement: its state and figures by key, or the reason why there are none."""

    section: str
    name: str
    state: str
    figures: dict[str, float | None] = field(default_factory=dict)
    reason: str = ""


class Sheet:
    """Prints rows as they are measured and writes all so far to `path` after each, until `minutes` are over.

    `facts` is what the JSON holds besides rows.
    """

    def __init__(
        self, machine: Machine, minutes: float, path: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.machine, self.rows = machine, list[Row]()
        self.facts: dict[str, Any] = {"machine": machine.to_dict()}
        self._path, self._clock = path, clock
        self._began, self._seconds = clock(), 60 * minutes
        self._section, self._columns = "", tuple[Column, ...]()

    @property
    def spent(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began

    @property
    def left(self) -> float:
        """Seconds until the run must end."""
        return self._seconds - self.spent

    def section(self, title: str, columns: tuple[Column, ...]) -> None:
        """Begins a section."""
        self._section, self._columns = title, columns
        print(f"\n{title}\n")
        self._line("", *(column.head for column in columns))
        self._line("---", *("---:" for _ in columns))

    def row(self, name: str, work: Callable[[], Figures], expected: float = 0.0) -> dict[str, float | None] | None:
        """Measures a row, which takes about `expected` seconds; returns its figures, None where there are none."""
        row = self._measured(name, work, expected)
        self.rows.append(row)
        if row.state == MEASURED:
            self._line(name, *(self._cell(column, row.figures) for column in self._columns))
        else:
            self._line(name, f"{row.state}: {row.reason}", *("" for _ in self._columns[1:]))
        self.write()
        return row.figures if row.state == MEASURED else None

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

    def write(self) -> None:
        """Writes the JSON, where there is a path."""
        if self._path:
            content = {**self.facts, "seconds": round(self.spent, 1), "rows": [asdict(row) for row in self.rows]}
            self._path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _measured(self, name: str, work: Callable[[], Figures], expected: float) -> Row:
        if self.left <= expected:
            needs = f", it takes about {expected:.0f} s" if expected else ""
            return Row(self._section, name, NOT_RUN, reason=f"{max(0.0, self.left):.0f} s are left{needs}")
        try:
            self.machine.release()
            return Row(self._section, name, MEASURED, dict(work()))
        except NotRunError as error:
            return Row(self._section, name, NOT_RUN, reason=str(error))
        except FailedError as error:
            return Row(self._section, name, FAILED, reason=str(error))
        except Exception as error:  # whatever it is, the other rows are worth their time
            return Row(self._section, name, FAILED, reason=in_one_line(error))

    def _cell(self, column: Column, figures: Figures) -> str:
        value = figures.get(column.key)
        return NOTHING if value is None else column.form.format(value / column.unit)

    def _line(self, *cells: str) -> None:
        print("|", *(f"{cell} |" for cell in cells), flush=True)


def in_one_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:LONGEST_REASON]
