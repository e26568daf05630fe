"""Values at seconds, as people write them: tables of keys in CSV or JSON, with straight lines between."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .strict_json import strict_json

Values = NDArray[np.float64]
SECONDS = "seconds"


def read_keys(text: str, columns: Sequence[str], *, is_json: bool) -> Values:
    """Keys (n, 1 + c), seconds first, of a text: CSV with the columns seconds and `columns`, or JSON, a list of objects
    with these names. Raises `ValueError` for text in another form."""
    try:
        rows = strict_json(text) if is_json else _table(text)
        keys = [[float(row[column]) for column in (SECONDS, *columns)] for row in rows]
    except (TypeError, KeyError, OverflowError, csv.Error) as error:
        raise ValueError(f"no table of {SECONDS} and {', '.join(columns)}") from error
    return np.array(keys, dtype=np.float64).reshape(-1, 1 + len(columns))


def looks_like_json(text: str) -> bool:
    """Whether a text is meant as JSON: a list or an object."""
    return text.lstrip().startswith(("[", "{"))


def are_rising(seconds: Values) -> bool:
    """Whether the seconds (n,) of keys are finite and in order."""
    return bool(np.isfinite(seconds).all() and (np.diff(seconds) > 0).all())


def between(times: NDArray[np.floating[Any]], seconds: Values, values: Values) -> Values:
    """The values (n, c) at `times` (n,) of keys (k, c) at `seconds` (k,): interpolated linearly, the first and the last
    held beyond."""
    return np.stack([np.interp(times, seconds, column) for column in values.T], 1)


def _table(text: str) -> Sequence[Mapping[str, str]]:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    return list(rows)
