"""How modules import one another: in no circle, in short chains, and never a room above their own."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("keysync", "training")
MODULES = {
    path.relative_to(ROOT).with_suffix("").parts: path for name in PACKAGES for path in (ROOT / name).rglob("*.py")
}
LONGEST_CHAIN = 8
# From the lowest up: a room imports nothing of the rooms after it. Modules at a package's root belong to no room of the
# library; in training they are the verbs, which `small` strings together.
ROOMS = {
    "keysync": ("network", "weights", "vae", "speech", "media", "face", "measure", "systems", "live"),
    "training": ("config", "data", "weights", "loss", "run", "flashlips", "synthetic", "evaluation", "verbs", "small"),
}

Name = tuple[str, ...]


def named(module: Name, statements: Iterable[ast.AST]) -> frozenset[Name]:
    """The modules of the same package that import statements name."""
    found = set()
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and statement.level:
            base = (*module[: -statement.level], *(statement.module or "").split("."))
            base = tuple(part for part in base if part)
            for name in statement.names:
                found |= {place for place in ((*base, name.name), base) if place in MODULES}
    return frozenset(found)


@cache
def imported(module: Name) -> frozenset[Name]:
    """The modules that a module imports when it is imported itself."""
    return named(module, ast.parse(MODULES[module].read_text(encoding="utf-8")).body)


def imported_ever(module: Name) -> frozenset[Name]:
    """The modules that a module imports at any time, in functions and for types too."""
    return named(module, ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def longest_chain(module: Name, above: tuple[Name, ...] = ()) -> tuple[Name, ...]:
    assert module not in above, f"a circle: {[*above, module]}"
    chains = (longest_chain(below, (*above, module)) for below in imported(module))
    return (module, *max(chains, key=len, default=()))


@pytest.mark.parametrize("package", PACKAGES)
def test_chains_of_imports_are_short_and_no_circles(package: str) -> None:
    longest = max((longest_chain(module) for module in MODULES if module[0] == package), key=len)
    assert len(longest) <= LONGEST_CHAIN, " > ".join(".".join(module[1:]) for module in longest)


def test_no_room_of_the_library_imports_a_room_above_it() -> None:
    rooms = ROOMS["keysync"]

    def room(module: Name) -> int:
        return rooms.index(module[1]) if len(module) > 2 and module[1] in rooms else -1

    upwards = {
        (module, below)
        for module in MODULES
        if module[0] == "keysync"
        for below in imported(module)
        if -1 < room(module) < room(below) or (room(module) > -1 and below[1] in ("cli", "commands", "dub", "job"))
    }
    assert not upwards


def test_no_room_of_training_imports_a_room_above_it() -> None:
    def room(module: Name) -> int:
        return ROOMS["training"].index(module[1] if len(module) > 2 else "verbs")

    upwards = {
        (module, below)
        for module in MODULES
        if module[0] == "training" and module[-1] != "__init__"
        for below in imported_ever(module)
        if room(module) < room(below)
    }
    assert not upwards


def test_the_library_does_not_import_training() -> None:
    for module, path in MODULES.items():
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.ImportFrom) and not statement.level and module[0] == "keysync":
                assert (statement.module or "").split(".")[0] != "training", ".".join(module)
