"""A bank as arrays by name, and back: what a cache keeps of a survey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .bank import Bank, Person
from .choose import Looks, Mouths
from .curve import Amplitude
from .sightings import RECORD, Sightings

NAMES = RECORD.names or ()

Arrays = Mapping[str, NDArray[Any]]


def pack(bank: Bank) -> dict[str, NDArray[Any]]:
    """The arrays of a bank; those of a shot's person begin with `person.` and the shot's number."""
    numbers, records = bank.seen.all()
    arrays: dict[str, NDArray[Any]] = {
        "seen.number": numbers,
        **{f"seen.{name}": records[name] for name in NAMES},
        "shots": np.array(sorted(bank.people), np.int64),
    }
    for shot, person in bank.people.items():
        amplitude = person.amplitude
        parts: dict[str, NDArray[Any]] = {
            "reference": person.reference,
            "measures": person.mouths.measures,
            "lips": person.mouths.lips,
            "turn": person.mouths.looks.turn,
            "scale": person.mouths.looks.scale,
            "light": person.mouths.looks.light,
            "number": person.mouths.number,
            "amplitude": np.array([*amplitude.opening, *amplitude.width, amplitude.rest], np.float64),
            "settled": person.settled,
            "points": person.points,
            "patches": person.patches.numpy(),
            "usual": person.usual,
            "made": np.array(person.made, np.bool_),
        }
        arrays |= {f"person.{shot}.{name}": array for name, array in parts.items()}
    return arrays


def unpack(arrays: Arrays) -> Bank:
    """The bank of `pack`. Raises `KeyError` or `ValueError` for other arrays."""
    people = {int(shot): _person(arrays, int(shot)) for shot in arrays["shots"]}
    numbers = arrays["seen.number"]
    records = np.empty(len(numbers), RECORD)
    for name in NAMES:
        records[name] = arrays[f"seen.{name}"]
    return Bank(people, Sightings.of(numbers, records))


def _person(arrays: Arrays, shot: int) -> Person:
    def part(name: str) -> NDArray[Any]:
        return arrays[f"person.{shot}.{name}"]

    low, high, narrow, wide, rest = part("amplitude").tolist()
    mouths = Mouths(part("measures"), part("lips"), Looks(part("turn"), part("scale"), part("light")), part("number"))
    if len({len(part(name)) for name in ("measures", "lips", "number", "settled", "points", "patches")}) != 1:
        raise ValueError("its mouths differ in number")
    return Person(
        part("reference"),
        mouths,
        Amplitude((low, high), (narrow, wide), rest),
        part("settled"),
        part("points"),
        torch.from_numpy(part("patches")),
        part("usual"),
        made=bool(part("made")),
    )
